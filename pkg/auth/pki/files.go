// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

type file struct {
	path string
	data []byte
}

// WriteFile replaces the file at path by data, mode 0600, so that a crash leaves the old content or the new.
func WriteFile(path string, data []byte) error {
	return writeFiles(filepath.Dir(path), []file{{path, data}})
}

// writeFiles writes files of one directory. All are on the disk before the first gets its name, and names appear in the
// order given: authorities before what they signed. Syncing at the same time lets the file system commit once.
func writeFiles(dir string, files []file) error {
	errs := make([]error, len(files))
	var wg sync.WaitGroup
	for i, f := range files {
		wg.Go(func() { errs[i] = writeSynced(f.path+".new", f.data) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, f := range files {
		if err := os.Rename(f.path+".new", f.path); err != nil {
			return fmt.Errorf("name file: %w", err)
		}
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync names: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync names in %s: %w", dir, err)
	}
	return nil
}

func writeSynced(path string, data []byte) (err error) {
	// What an earlier crash left there may be open to others or a link: begin with a file of our own.
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync file %s: %w", path, err)
	}
	return nil
}
