// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	content "github.com/containerd/containerd/api/services/content/v1"
	images "github.com/containerd/containerd/api/services/images/v1"
	leases "github.com/containerd/containerd/api/services/leases/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The namespace that the CRI plugin keeps its images in, and the labels it understands.
const (
	criNamespace = "k8s.io"
	pinnedLabel  = "io.cri-containerd.pinned"
	nameKey      = "io.containerd.image.name"
)

// descriptor and manifest are what is needed of https://github.com/opencontainers/image-spec.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations"`
}

type manifest struct {
	Config    *descriptor  `json:"config"`
	Layers    []descriptor `json:"layers"`
	Manifests []descriptor `json:"manifests"`
}

// imageName returns the name of the one image in an OCI archive.
func imageName(archive []byte) (string, error) {
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if err != nil {
			return "", fmt.Errorf("find index.json in the archive: %w", err)
		}
		if h.Name != "index.json" {
			continue
		}
		var index manifest
		if err := json.NewDecoder(r).Decode(&index); err != nil {
			return "", fmt.Errorf("read index.json: %w", err)
		}
		if len(index.Manifests) != 1 || index.Manifests[0].Annotations[nameKey] == "" {
			return "", fmt.Errorf("index.json must have one image, named by the annotation %s", nameKey)
		}
		return index.Manifests[0].Annotations[nameKey], nil
	}
}

// Import loads the named images of an OCI archive for CRI to use, and returns their names; pinned ones are never
// collected. It streams: memory does not grow with the image. Blobs that are there already are not sent again.
func (s *Supervisor) Import(ctx context.Context, archive io.Reader, pinned bool) ([]string, error) {
	conn, err := s.dial()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	names, err := importArchive(ctx, conn, archive, pinned)
	if err != nil {
		return nil, fmt.Errorf("import images: %w", err)
	}
	return names, nil
}

// ready asks CRI once, and loads the pause image if it is not there.
func (s *Supervisor) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := s.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := cri.NewRuntimeServiceClient(conn).Version(ctx, &cri.VersionRequest{}); err != nil {
		return err
	}
	if _, err := cri.NewRuntimeServiceClient(conn).Status(ctx, &cri.StatusRequest{}); err != nil {
		return err
	}
	name, err := imageName(s.opts.PauseImage)
	if err != nil {
		return err
	}
	spec := &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: name}}
	got, err := cri.NewImageServiceClient(conn).ImageStatus(ctx, spec)
	if err == nil && got.Image == nil {
		if _, err = importArchive(ctx, conn, bytes.NewReader(s.opts.PauseImage), true); err == nil {
			// CRI hears of a new image by an event: the next look finds it.
			err = errors.New("pause image is being loaded")
		}
	}
	return err
}

// answers tells whether the process serves CRI; it is given a moment, as it may have been started just now.
func (s *Supervisor) answers(ctx context.Context, p *process) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := s.dial()
	if err != nil {
		return false
	}
	defer conn.Close()
	for {
		if _, err := cri.NewRuntimeServiceClient(conn).Version(ctx, &cri.VersionRequest{}); err == nil {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-p.ended:
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (s *Supervisor) dial() (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("unix://"+s.opts.Socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("connect to containerd: %w", err)
	}
	return conn, nil
}

// importArchive does what containerd's own client does, without its weight: blobs under a lease that keeps the garbage
// collector off, then references from each manifest to its parts as labels, then the image records.
func importArchive(ctx context.Context, conn *grpc.ClientConn, archive io.Reader, pinned bool) ([]string, error) {
	ctx = metadata.AppendToOutgoingContext(ctx, "containerd-namespace", criNamespace)
	lm := leases.NewLeasesClient(conn)
	lease, err := lm.Create(ctx, &leases.CreateRequest{
		ID:     fmt.Sprintf("import-%d", time.Now().UnixNano()),
		Labels: map[string]string{"containerd.io/gc.expire": time.Now().Add(time.Hour).Format(time.RFC3339)},
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		// A lease that could not be deleted expires.
		_, _ = lm.Delete(context.WithoutCancel(ctx), &leases.DeleteRequest{ID: lease.Lease.ID})
	}()
	leased := metadata.AppendToOutgoingContext(ctx, "containerd-lease", lease.Lease.ID)

	store := content.NewContentClient(conn)
	var index manifest
	parts := map[string]map[string]string{}
	r := tar.NewReader(archive)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if h.Name == "index.json" {
			if err := json.NewDecoder(r).Decode(&index); err != nil {
				return nil, fmt.Errorf("read index.json: %w", err)
			}
		}
		algorithm, hash, ok := strings.Cut(strings.TrimPrefix(h.Name, "blobs/"), "/")
		if !ok || h.Typeflag != tar.TypeReg || !strings.HasPrefix(h.Name, "blobs/") {
			continue
		}
		digest := algorithm + ":" + hash
		var head bytes.Buffer
		if err := writeBlob(leased, store, digest, h.Size, io.TeeReader(r, &limited{&head, 4 << 20})); err != nil {
			return nil, fmt.Errorf("write %s: %w", digest, err)
		}
		if refs := references(head.Bytes()); len(refs) > 0 {
			parts[digest] = refs
		}
	}
	for digest, refs := range parts {
		paths := make([]string, 0, len(refs))
		for k := range refs {
			paths = append(paths, "labels."+k)
		}
		if _, err := store.Update(leased, &content.UpdateRequest{
			Info: &content.Info{Digest: digest, Labels: refs}, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths},
		}); err != nil {
			return nil, fmt.Errorf("label %s: %w", digest, err)
		}
	}
	var names []string
	for _, m := range index.Manifests {
		name := m.Annotations[nameKey]
		if name == "" {
			continue
		}
		image := &images.Image{
			Name:   name,
			Target: &types.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: m.Size},
		}
		if pinned {
			image.Labels = map[string]string{pinnedLabel: "pinned"}
		}
		_, err := images.NewImagesClient(conn).Create(ctx, &images.CreateImageRequest{Image: image})
		if status.Code(err) == codes.AlreadyExists {
			_, err = images.NewImagesClient(conn).Update(ctx, &images.UpdateImageRequest{Image: image})
		}
		if err != nil {
			return nil, fmt.Errorf("record image %s: %w", name, err)
		}
		names = append(names, name)
	}
	return names, nil
}

// writeBlob streams one blob in pieces of a megabyte. containerd checks size and digest.
func writeBlob(ctx context.Context, store content.ContentClient, digest string, size int64, r io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := store.Write(ctx)
	if err != nil {
		return err
	}
	buf := make([]byte, min(size, 1<<20))
	var offset int64
	for {
		n, err := io.ReadFull(r, buf)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		last := offset+int64(n) >= size
		action := content.WriteAction_WRITE
		if last {
			action = content.WriteAction_COMMIT
		}
		// How a failed send ended is told by the receive.
		_ = stream.Send(&content.WriteContentRequest{Action: action, Ref: "import-" + digest, Total: size, Expected: digest, Offset: offset, Data: buf[:n]})
		if _, err := stream.Recv(); err != nil {
			if status.Code(err) == codes.AlreadyExists {
				_, err = io.Copy(io.Discard, r)
			}
			return err
		}
		offset += int64(n)
		if last {
			// What a tee behind r keeps must be whole, and the archive's next file be next.
			_, err := io.Copy(io.Discard, r)
			return err
		}
	}
}

// references are the garbage collector's labels of an index or a manifest, none of any other blob.
func references(blob []byte) map[string]string {
	var m manifest
	if len(blob) == 0 || blob[0] != '{' || json.Unmarshal(blob, &m) != nil {
		return nil
	}
	out := map[string]string{}
	if m.Config != nil && m.Config.Digest != "" {
		out["containerd.io/gc.ref.content.config"] = m.Config.Digest
		for i, l := range m.Layers {
			out[fmt.Sprintf("containerd.io/gc.ref.content.l.%d", i)] = l.Digest
		}
	}
	for i, d := range m.Manifests {
		out[fmt.Sprintf("containerd.io/gc.ref.content.m.%d", i)] = d.Digest
	}
	return out
}

// limited keeps the first bytes written to it: manifests are small, layers are not looked at.
type limited struct {
	*bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	keep := min(l.left, len(p))
	l.left -= keep
	l.Buffer.Write(p[:keep])
	return len(p), nil
}
