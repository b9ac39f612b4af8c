// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package loader

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/ciliate-io/ciliate/internal/datapath/bpfgen"
)

// local says that a map belongs to one set of programs and is not pinned: constants, and scratch space.
func local(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "scratch")
}

// adoptMaps returns every shared map: the pinned one where it has the layout of the object, else a new one in its place.
func adoptMaps(folder string, object *ebpf.CollectionSpec) (_ map[string]*ebpf.Map, err error) {
	adopted := map[string]*ebpf.Map{}
	defer func() {
		if err != nil {
			closeAll(adopted)
		}
	}()
	for name, spec := range object.Maps {
		if local(name) {
			continue
		}
		if adopted[name], err = adoptMap(filepath.Join(folder, name), spec); err != nil {
			return nil, err
		}
	}
	return adopted, nil
}

func adoptMap(pin string, spec *ebpf.MapSpec) (*ebpf.Map, error) {
	m, err := ebpf.LoadPinnedMap(pin, nil)
	switch {
	case err == nil && spec.Compatible(m) == nil && sameLayout(m, spec):
		return m, nil
	case err == nil:
		// Programs that run keep the old map until they are replaced; only its name goes to the new one.
		err = errors.Join(m.Unpin(), m.Close())
	case errors.Is(err, os.ErrNotExist):
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("open pinned map %s: %w", spec.Name, err)
	}
	if m, err = ebpf.NewMap(spec); err != nil {
		return nil, fmt.Errorf("make map %s: %w", spec.Name, err)
	}
	if err := m.Pin(pin); err != nil {
		return nil, errors.Join(fmt.Errorf("pin map %s: %w", spec.Name, err), m.Close())
	}
	return m, nil
}

// adoptPrograms returns all programs, pinned ones where they were loaded from the same build with the same configuration
// and maps: a restarted agent then finds its devices as they should be, and has nothing to verify again.
func adoptPrograms(folder string, cfg Config, specs []*ebpf.CollectionSpec, maps map[string]*ebpf.Map) (map[string]program, error) {
	suffix, err := fingerprint(cfg, maps)
	if err != nil {
		return nil, err
	}
	programs := map[string]program{}
	for _, spec := range specs {
		if err := adoptObject(folder, suffix, spec, maps, programs); err != nil {
			for _, p := range programs {
				p.Close()
			}
			return nil, err
		}
	}
	return programs, prunePrograms(folder, suffix)
}

// fingerprint tells apart programs that differ in their build, constants or maps. A program's own tag covers the first
// only.
func fingerprint(cfg Config, maps map[string]*ebpf.Map) (string, error) {
	sum := sha256.New()
	for _, object := range bpfgen.Bytes() {
		sum.Write(object)
	}
	fmt.Fprintf(sum, "%+v", cfg)
	ids := map[string]ebpf.MapID{}
	for name, m := range maps {
		info, err := m.Info()
		if err != nil {
			return "", fmt.Errorf("look at map %s: %w", name, err)
		}
		ids[name], _ = info.ID()
	}
	fmt.Fprintf(sum, "%v", ids)
	return "-" + hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

// adoptObject adds the programs of one object.
func adoptObject(folder, suffix string, spec *ebpf.CollectionSpec, maps map[string]*ebpf.Map, programs map[string]program) error {
	found := map[string]*ebpf.Program{}
	for name := range spec.Programs {
		p, err := ebpf.LoadPinnedProgram(filepath.Join(folder, name+suffix), nil)
		if err != nil {
			break
		}
		found[name] = p
	}
	if len(found) < len(spec.Programs) {
		closeAll(found)
		var err error
		if found, err = loadObject(folder, suffix, spec, maps); err != nil {
			return err
		}
	}
	for name, p := range found {
		info, err := p.Info()
		if err != nil {
			closeAll(found)
			return fmt.Errorf("look at program %s: %w", name, err)
		}
		id, _ := info.ID()
		programs[name] = program{Program: p, id: id}
	}
	return nil
}

// loadObject loads an object's programs and pins them.
func loadObject(folder, suffix string, spec *ebpf.CollectionSpec, maps map[string]*ebpf.Map) (map[string]*ebpf.Program, error) {
	collection, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: maps})
	if err != nil {
		return nil, fmt.Errorf("load programs: %w", err)
	}
	defer collection.Close()
	loaded := map[string]*ebpf.Program{}
	for name := range spec.Programs {
		loaded[name] = collection.DetachProgram(name)
		pin := filepath.Join(folder, name+suffix)
		if err := errors.Join(removeIfThere(pin), loaded[name].Pin(pin)); err != nil {
			closeAll(loaded)
			return nil, fmt.Errorf("pin program %s: %w", name, err)
		}
	}
	return loaded, nil
}

// prunePrograms removes the pins of other builds and configurations. What still runs on a device goes on running.
func prunePrograms(folder, suffix string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("list pinned programs: %w", err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), suffix) {
			if err := removeIfThere(filepath.Join(folder, e.Name())); err != nil {
				return fmt.Errorf("remove old pinned program: %w", err)
			}
		}
	}
	return nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// closeAll closes what was opened before something else failed; that failure is the one to report.
func closeAll[T interface{ Close() error }](opened map[string]T) {
	for _, o := range opened {
		_ = o.Close()
	}
}
