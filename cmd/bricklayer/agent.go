package main

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bricklayer.csi/agent"
	"bricklayer.csi/internal/gluster"
	"bricklayer.csi/internal/telemetry"
)

// agentOptions are those of the agent.
type agentOptions struct {
	config, metrics string
	log             logOptions
}

// AddFlags adds the flags.
func (o *agentOptions) AddFlags(fs *pflag.FlagSet) {
	addConfigFlag(fs, &o.config)
	addMetricsFlag(fs, &o.metrics)
	o.log.AddFlags(fs)
}

// addConfigFlag adds the flag that `agent` and `agent init` share.
func addConfigFlag(fs *pflag.FlagSet, to *string) {
	fs.StringVar(to, "config", "/etc/bricklayer/agent.yaml", "the agent's configuration file")
}

// Validate checks the flags.
func (o *agentOptions) Validate() error { return o.log.Validate() }

func newAgent(env environment) *cobra.Command {
	var o agentOptions
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Serve a storage node's brick roots and its glusterd to the pool's controllers",
		Long: `Serve a storage node's brick roots and its glusterd to the controllers of its
pool, over mutual TLS, until SIGTERM or SIGINT.

It must run as root, where glusterd runs. Prepare each brick root once with
'bricklayer agent init'.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return err
			}
			return o.run(cmd.Context(), env)
		},
	}
	o.AddFlags(cmd.Flags())
	cmd.AddCommand(newAgentInit())
	return cmd
}

func (o *agentOptions) run(ctx context.Context, env environment) error {
	config, err := agent.LoadConfig(o.config)
	if err != nil {
		return err
	}
	cluster, err := gluster.NewCLI(gluster.Options{Command: config.GlusterCommand})
	if err != nil {
		return err
	}
	log := o.log.logger(env.err)
	stop, err := env.sendTraces(ctx, "agent", log)
	if err != nil {
		return err
	}
	defer stop()
	return agent.Run(ctx, agent.RunOptions{
		Config: config, Version: version, Log: log, Cluster: cluster,
		Telemetry: telemetry.New(version), MetricsAddress: o.metrics,
	})
}
