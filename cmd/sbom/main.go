// Command sbom writes the bill of materials of an image: what Debian packages its
// files are of, and from which Go modules its program was built, in CycloneDX JSON.
//
// It reads an image's unpacked root and nothing else: the records that Debian's
// packages left there, and the build information inside the program. It refuses to
// know how the image was built.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// specVersion is the newest that scanners commonly read.
const specVersion = cdx.SpecVersion1_6

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			os.Exit(0)
		}
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	var o image
	flags := flag.NewFlagSet("sbom", flag.ContinueOnError)
	flags.StringVar(&o.root, "root", "", "the directory that holds the image's files")
	flags.StringVar(&o.name, "name", "", "the image's name, without its tag")
	flags.StringVar(&o.version, "version", "", "the image's tag")
	flags.StringVar(&o.program, "program", "usr/local/bin/bricklayer", "the Go program, below the root")
	if err := flags.Parse(args); err != nil {
		return err
	}
	for name, value := range map[string]string{"root": o.root, "name": o.name, "version": o.version} {
		if value == "" {
			return fmt.Errorf("--%s is missing", name)
		}
	}
	bom, err := o.bom()
	if err != nil {
		return err
	}
	return cdx.NewBOMEncoder(out, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).EncodeVersion(bom, specVersion)
}
