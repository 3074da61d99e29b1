package volume

import (
	"errors"
	"maps"
	"slices"
	"strings"
)

// poolKeys are the keys for which a pool may have a default: they say what a volume
// is. Others say where it comes from, or, as volumenameprefix, what it is called: a
// request that is repeated after they changed would make another volume.
var poolKeys = []string{"layout", "volumetype", "volumeprofile", "volumeoptions", "gidMin", "gidMax", "quota", "onDelete", "snapfactor"}

// ParseOver is ParseParameters with a pool's defaults in the place of what the class
// leaves out. Defaults that do not go with the class's lvm are left aside. A fault
// of theirs is named as spec.defaults.KEY.
func ParseOver(defaults, given map[string]string) (Parameters, error) {
	p := Parameters{Layout: LayoutVolume, Profile: General, Quota: true, OnDelete: DeleteData, GIDMin: MinGID, GIDMax: MaxGID}
	p.Type, _ = ParseType("")
	p.Heketi.AuthEnabled = true
	seen, err := p.read(given)
	if err != nil {
		return Parameters{}, err
	}
	if len(defaults) == 0 {
		return p, p.checkTogether()
	}
	class := p
	if err := class.checkTogether(); err != nil {
		return Parameters{}, err
	}
	used, err := p.fill(defaults, seen)
	if err == nil {
		err = ofPool(p.checkTogether(), used)
	}
	if own := class.Fingerprint(); own != p.Fingerprint() {
		p.Class = own
	}
	return p, err
}

// fill takes in a pool's defaults for keys that the class does not have, and returns
// which they were.
func (p *Parameters) fill(defaults, seen map[string]string) (used []string, err error) {
	for _, name := range slices.Sorted(maps.Keys(defaults)) {
		k, err := defaultKey(name)
		if err != nil {
			return nil, err
		}
		if _, given := seen[k.name]; given || k.scope == plainOnly && p.LVM || k.scope == lvmOnly && !p.LVM {
			continue
		}
		if !k.parse(p, strings.TrimSpace(defaults[name])) {
			return nil, NewFieldError(defaultsField+"."+name, defaults[name], k.allowed)
		}
		used = append(used, k.name)
	}
	return used, nil
}

// defaultsField is where a pool has its defaults.
const defaultsField = "spec.defaults"

// defaultKey finds a key for which a pool may have a default.
func defaultKey(name string) (key, error) {
	k, err := findKey(name)
	if err != nil || !slices.Contains(poolKeys, k.name) {
		return key{}, NewFieldError(defaultsField, name, "one of "+strings.Join(poolKeys, ", ")+": only parameters that say what a volume is")
	}
	return k, nil
}

// ofPool names a fault of parameters taken together after the pool's defaults, where
// the key that it names is one of them.
func ofPool(err error, used []string) error {
	if f, ok := errors.AsType[*FieldError](err); ok {
		if name, found := strings.CutPrefix(f.Field, "parameters."); found && slices.Contains(used, name) {
			f.Field = defaultsField + "." + name
		}
	}
	return err
}

// CheckDefaults returns what is wrong with a pool's defaults, each naming its key as
// spec.defaults.KEY.
func CheckDefaults(defaults map[string]string) (faults []*FieldError) {
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(defaults)) {
		k, err := defaultKey(name)
		if f, bad := errors.AsType[*FieldError](err); bad {
			faults = append(faults, f)
			continue
		}
		if other, twice := seen[k.name]; twice {
			faults = append(faults, NewFieldError(defaultsField+"."+name, defaults[name], "one of "+other+" and "+name+", which are the same key"))
		} else if !k.parse(&Parameters{}, strings.TrimSpace(defaults[name])) {
			faults = append(faults, NewFieldError(defaultsField+"."+name, defaults[name], k.allowed))
		}
		seen[k.name] = name
	}
	if len(faults) > 0 {
		return faults
	}
	_, err := ParseOver(defaults, map[string]string{"lvm": "false"})
	if f, bad := errors.AsType[*FieldError](err); bad {
		faults = append(faults, f)
	}
	return faults
}
