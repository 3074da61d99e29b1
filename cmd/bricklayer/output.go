package main

import (
	"encoding/json"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"bricklayer.csi/internal/volume"
)

// outputOptions say how a result is shown.
type outputOptions struct{ format string }

// AddFlags adds the flags.
func (o *outputOptions) AddFlags(fs *pflag.FlagSet) {
	fs.StringVarP(&o.format, "output", "o", "table", "how to show the result: table, json or yaml")
}

// Validate checks the flags.
func (o *outputOptions) Validate() error {
	switch o.format {
	case "table", "json", "yaml":
		return nil
	}
	return volume.NewFieldError("--output", o.format, "table, json or yaml")
}

// write shows v as JSON or YAML, or calls table with a writer that aligns columns.
func (o *outputOptions) write(w io.Writer, v any, table func(io.Writer)) error {
	if err := o.Validate(); err != nil {
		return err
	}
	switch o.format {
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(v)
	case "yaml":
		text, err := yaml.Marshal(v)
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	table(tw)
	return tw.Flush()
}

// row returns a line of a table.
func row(cells ...string) string {
	for i, c := range cells {
		if c == "" {
			cells[i] = "-"
		}
	}
	return strings.Join(cells, "\t") + "\n"
}
