// SPDX-License-Identifier: Apache-2.0
// Copyright Authors of Ciliate

// Command image packs a folder into an image of one layer, as the docker-archive that "ctr images import" takes.
// The same folder gives the same bytes: names are sorted, times are zero, everything belongs to root.
//
//	go run ./hack/image -o agent.tar -ref ciliate/cilium-agent:dev -entrypoint /cilium-agent ROOT
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// words is a flag that may be given several times.
type words []string

func (w *words) String() string     { return strings.Join(*w, " ") }
func (w *words) Set(s string) error { *w = append(*w, s); return nil }

// image is what the archive says about the layer.
type image struct {
	refs       words
	entrypoint words
	cmd        words
	user       string
}

func main() {
	var img image
	out := flag.String("o", "", "archive to write")
	flag.StringVar(&img.user, "user", "", "user and group the process runs as")
	flag.Var(&img.refs, "ref", "name of the image (repeatable)")
	flag.Var(&img.entrypoint, "entrypoint", "word of the entry point (repeatable)")
	flag.Var(&img.cmd, "cmd", "word of the default arguments (repeatable)")
	flag.Parse()
	if *out == "" || len(img.refs) == 0 || flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := pack(*out, flag.Arg(0), img); err != nil {
		log.Fatal(err)
	}
}

// pack writes the archive beside its place and renames it, so that no reader meets half of it.
func pack(out, root string, img image) error {
	dir, err := os.MkdirTemp(filepath.Dir(out), ".pack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	layer := filepath.Join(dir, "layer.tar")
	digest, err := writeLayer(layer, root)
	if err != nil {
		return fmt.Errorf("pack %s: %w", root, err)
	}
	archive := filepath.Join(dir, "image.tar")
	if err := writeArchive(archive, layer, digest, img); err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	return os.Rename(archive, out)
}

// config is the image's configuration, as the OCI image specification has it.
func config(digest string, img image) ([]byte, error) {
	const epoch = "1970-01-01T00:00:00Z"
	return json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"created":      epoch,
		"config": map[string]any{
			"Entrypoint": img.entrypoint,
			"Cmd":        img.cmd,
			"Env":        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			"User":       img.user,
			"WorkingDir": "/",
		},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest}},
		"history": []map[string]string{{"created": epoch, "created_by": "hack/image"}},
	})
}

func writeArchive(path, layer, digest string, img image) error {
	conf, err := config(digest, img)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(conf)
	confName, layerName := hex.EncodeToString(sum[:])+".json", digest+"/layer.tar"
	manifest, err := json.Marshal([]map[string]any{
		{"Config": confName, "RepoTags": img.refs, "Layers": []string{layerName}},
	})
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	tw := tar.NewWriter(f)
	if err := addBytes(tw, confName, conf); err != nil {
		return err
	}
	if err := addLayer(tw, layerName, layer); err != nil {
		return err
	}
	if err := addBytes(tw, "manifest.json", manifest); err != nil {
		return err
	}
	if err := tw.Close(); err != nil {
		return err
	}
	return f.Close()
}

func addBytes(tw *tar.Writer, name string, data []byte) error {
	return addFile(tw, name, bytes.NewReader(data), int64(len(data)))
}

func addLayer(tw *tar.Writer, name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return addFile(tw, name, f, info.Size())
}

func addFile(tw *tar.Writer, name string, r io.Reader, size int64) error {
	err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0)})
	if err != nil {
		return err
	}
	_, err = io.Copy(tw, r)
	return err
}

// writeLayer packs root and returns the layer's SHA-256.
func writeLayer(path, root string) (string, error) {
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	tw := tar.NewWriter(io.MultiWriter(f, hash))
	// WalkDir goes in the order of names.
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		return addEntry(tw, root, p, d)
	})
	if err != nil {
		return "", err
	}
	if err := tw.Close(); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), f.Close()
}

// addEntry writes one folder, link or file.
func addEntry(tw *tar.Writer, root, path string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	header, err := entryHeader(root, path, info)
	if err != nil {
		return err
	}
	if err := tw.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(tw, f)
	return err
}

func entryHeader(root, path string, info fs.FileInfo) (*tar.Header, error) {
	var link string
	var err error
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(path); err != nil {
			return nil, err
		}
	}
	header, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return nil, err
	}
	if header.Name, err = filepath.Rel(root, path); err != nil {
		return nil, err
	}
	if info.IsDir() {
		header.Name += "/"
	}
	header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "", ""
	header.ModTime, header.AccessTime, header.ChangeTime = time.Unix(0, 0), time.Time{}, time.Time{}
	return header, nil
}
