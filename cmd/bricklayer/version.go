package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"
)

// versionView is what `version` shows.
type versionView struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersion() *cobra.Command {
	var out outputOptions
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the version of this program",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versionView{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			return out.write(cmd.OutOrStdout(), v, func(w io.Writer) {
				fmt.Fprintf(w, "bricklayer %s (%s, %s)\n", v.Version, v.Go, v.Platform)
			})
		},
	}
	out.AddFlags(cmd.Flags())
	return cmd
}
