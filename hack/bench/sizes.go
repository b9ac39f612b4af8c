// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// measureSizes looks at what is shipped.
func measureSizes(_ context.Context, c *cluster, s *section) error {
	rows := [][]string{{"what", "size", "compressed", "Cilium"}}
	cilium := map[string]string{"cilium-cni": "17 MB"}
	for _, image := range []string{"cilium-agent", "cilium-operator"} {
		path := filepath.Join(c.images, image+".tar")
		whole, packed, err := imageSize(path)
		if err != nil {
			return err
		}
		rows = append(rows, []string{"image `ciliate/" + image + "`", mib(whole), mib(packed), ""})
		binaries, err := binariesOf(path)
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(binaries)) {
			rows = append(rows, []string{"&emsp;`" + name + "`", mib(binaries[name]), "", cilium[name]})
		}
	}
	objects, err := filepath.Glob(c.repo + "/internal/datapath/bpfgen/*.o")
	if err != nil {
		return err
	}
	for _, path := range objects {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		rows = append(rows, []string{"BPF object `" + filepath.Base(path) + "`, in the agent", kib(int(info.Size())), "", ""})
	}
	s.table(rows...)
	return nil
}

// imageSize is that of an image's file, as it is and as a registry would keep it.
func imageSize(path string) (whole, packed int, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, 0, fmt.Errorf("open the image (hack/image/build.sh packs it): %w", err)
	}
	defer file.Close()
	var size counter
	zip := gzip.NewWriter(&size)
	n, err := io.Copy(zip, file)
	if err := errors.Join(err, zip.Close()); err != nil {
		return 0, 0, fmt.Errorf("compress %s: %w", path, err)
	}
	return int(n), int(size), nil
}

// counter forgets what is written to it, but not how much.
type counter int

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// binariesOf are the files in the image's layers.
func binariesOf(path string) (map[string]int, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	found := map[string]int{}
	image := tar.NewReader(file)
	for {
		header, err := image.Next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		if !strings.HasSuffix(header.Name, "layer.tar") {
			continue
		}
		for layer := tar.NewReader(image); ; {
			header, err := layer.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("read a layer of %s: %w", path, err)
			}
			if header.Typeflag == tar.TypeReg {
				found[filepath.Base(header.Name)] = int(header.Size)
			}
		}
	}
}
