package checks

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"bricklayer.csi/internal/doctor/host"
)

// unitDirs are where systemd finds units, the first that has one wins.
var unitDirs = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// dockerArguments returns what dockerd will be started with, and where that is
// from: its unit, or else the process that runs.
func dockerArguments(h *host.Host) (args []string, from string, err error) {
	args, from, err = unitArguments(h, "docker.service", "dockerd")
	if err != nil || from != "" {
		return args, from, err
	}
	running, err := h.Running("dockerd")
	if err != nil || len(running) == 0 {
		return nil, "", err
	}
	return running[0].Args, "the arguments of the running dockerd", nil
}

// unitArguments returns the command of a unit, drop-ins and environment applied;
// from is empty where there is no such unit.
func unitArguments(h *host.Host, unit, program string) (args []string, from string, err error) {
	files, err := unitFiles(h, unit)
	if err != nil {
		return nil, "", err
	}
	env := map[string]string{}
	for _, file := range files {
		text, err := h.ReadString(file)
		if err != nil {
			return nil, "", err
		}
		// A backslash at the end of a line goes on in the next.
		for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch key {
			case "ExecStart":
				args, from = words(value), file
			case "Environment":
				for _, w := range words(value) {
					k, v, _ := strings.Cut(w, "=")
					env[k] = v
				}
			case "EnvironmentFile":
				if err := readEnvironment(h, strings.TrimPrefix(value, "-"), env); err != nil {
					return nil, "", err
				}
			}
		}
	}
	if len(args) == 0 || path.Base(strings.TrimLeft(args[0], "-@:+!")) != program {
		return nil, "", nil
	}
	return expand(args, env), from, nil
}

// unitFiles returns the unit's file and its drop-ins in the order that they count.
func unitFiles(h *host.Host, unit string) ([]string, error) {
	var files []string
	for _, dir := range unitDirs {
		there, err := h.Exists(path.Join(dir, unit))
		if err != nil {
			return nil, err
		}
		if there {
			files = append(files, path.Join(dir, unit))
			break
		}
	}
	if len(files) == 0 {
		return nil, nil
	}
	dirs := make([]string, len(unitDirs))
	for i, dir := range unitDirs {
		dirs[i] = path.Join(dir, unit+".d")
	}
	dropIns, err := effective(h, dirs)
	return append(files, dropIns...), err
}

// readEnvironment reads a file of VARIABLE=value lines; one that is missing sets nothing.
func readEnvironment(h *host.Host, file string, env map[string]string) error {
	text, err := h.ReadString(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for line := range strings.Lines(text) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(k, "#") {
			env[strings.TrimPrefix(k, "export ")] = strings.Trim(v, `"'`)
		}
	}
	return err
}

// words splits a command as systemd does, as far as it matters here: at spaces
// outside of quotes.
func words(line string) []string {
	var all []string
	var word strings.Builder
	var quote rune
	begun := false
	for _, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, begun = c, true
		case quote == 0 && (c == ' ' || c == '\t'):
			if begun {
				all = append(all, word.String())
				word.Reset()
			}
			begun = false
		default:
			word.WriteRune(c)
			begun = true
		}
	}
	if begun {
		all = append(all, word.String())
	}
	return all
}

// expand puts in the variables: $NAME as a word of its own becomes many words,
// ${NAME} one.
func expand(args []string, env map[string]string) []string {
	var all []string
	for _, a := range args {
		if name, ok := strings.CutPrefix(a, "$"); ok && !strings.HasPrefix(name, "{") {
			all = append(all, words(env[name])...)
			continue
		}
		for k, v := range env {
			a = strings.ReplaceAll(a, "${"+k+"}", v)
		}
		all = append(all, a)
	}
	return slices.DeleteFunc(all, func(a string) bool { return a == "" })
}
