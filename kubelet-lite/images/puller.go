// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/status"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/flowcontrol"
	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// Reasons why a container waits for its image, as its status says them.
const (
	ReasonPullBackOff = "ImagePullBackOff"
	ReasonPull        = "ErrImagePull"
	ReasonNeverPull   = "ErrImageNeverPull"
	ReasonInspect     = "ImageInspectError"
	ReasonInvalidName = "InvalidImageName"
	ReasonUnavailable = "RegistryUnavailable"
	ReasonSignature   = "SignatureValidationFailed"
)

const (
	backOffStart = 10 * time.Second
	backOffMax   = 300 * time.Second
	reportFor    = 2 * time.Second // how long a failure is shown as itself
	parallel     = 5               // pulls at once
)

// Secrets is where pull secrets come from.
type Secrets interface {
	GetSecret(namespace, name string) (*v1.Secret, error)
}

// Result of asking for an image: one of Ref, Pulling, or Reason is set.
type Result struct {
	Ref      string // what to name the image by to the runtime
	UID      *int64 // the user that the image runs as
	Username string
	Pulling  bool // the pod is woken when the pull has ended
	Reason   string
	Message  string
	Retry    time.Duration // when asking again may help
}

// Puller brings images to the node.
type Puller struct {
	images   internalapi.ImageManagerService
	secrets  Secrets
	recorder record.EventRecorder
	wake     func(types.UID)
	clock    clock.Clock
	backOff  *flowcontrol.Backoff
	slots    chan struct{}

	mu      sync.Mutex
	records map[key]*pull
	locks   map[string]*sync.Mutex // by image: one pull of it at a time
}

type key struct {
	pod   types.UID
	image string
}

// pull is one attempt for one pod and image.
type pull struct {
	done    bool
	ref     string
	reason  string // of its failure
	message string
	failed  time.Time
}

// NewPuller returns a puller that calls wake when a pod's pull has ended.
func NewPuller(images internalapi.ImageManagerService, secrets Secrets, recorder record.EventRecorder, clk clock.Clock, wake func(types.UID)) *Puller {
	backOff := flowcontrol.NewBackOff(backOffStart, backOffMax)
	backOff.Clock = clk
	return &Puller{images: images, secrets: secrets, recorder: recorder, wake: wake, clock: clk, backOff: backOff,
		slots: make(chan struct{}, parallel), records: map[key]*pull{}, locks: map[string]*sync.Mutex{}}
}

// Ensure returns at once: with the image, with why there is none, or with Pulling. ctx bounds the pull that it may start, and
// must therefore outlive the call. object is what events are about.
func (p *Puller) Ensure(ctx context.Context, pod *v1.Pod, object runtime.Object, image string, policy v1.PullPolicy, config *runtimeapi.PodSandboxConfig) Result {
	full, repository, err := Normalize(image)
	if err != nil {
		message := fmt.Sprintf("Failed to apply default image tag %q: %v", image, err)
		p.recorder.Event(object, v1.EventTypeWarning, "InspectFailed", message)
		return Result{Reason: ReasonInvalidName, Message: message, Retry: backOffStart}
	}
	spec := &runtimeapi.ImageSpec{Image: full, UserSpecifiedImage: image, Annotations: pod.Annotations}
	id := key{pod.UID, image}

	p.mu.Lock()
	record := p.records[id]
	if record != nil && !record.done {
		p.mu.Unlock()
		return Result{Pulling: true}
	}
	if record != nil && record.ref != "" {
		delete(p.records, id) // a pull serves the one start that it was made for
		p.mu.Unlock()
		return p.inspect(ctx, spec, record.ref, object)
	}
	if record != nil {
		if left := reportFor - p.clock.Since(record.failed); left > 0 {
			p.mu.Unlock()
			return Result{Reason: record.reason, Message: record.message, Retry: left}
		}
	}
	p.mu.Unlock()

	if policy != v1.PullAlways {
		found := p.inspect(ctx, spec, "", object)
		if found.Reason != "" {
			return found
		}
		if found.Ref != "" {
			p.recorder.Eventf(object, v1.EventTypeNormal, "Pulled", "Container image %q already present on machine and can be accessed by the pod", image)
			return found
		}
		if policy == v1.PullNever {
			message := fmt.Sprintf("Container image %q is not present with pull policy of Never", image)
			p.recorder.Event(object, v1.EventTypeWarning, ReasonNeverPull, message)
			return Result{Reason: ReasonNeverPull, Message: message, Retry: backOffStart}
		}
	}

	backOffKey := string(pod.UID) + "_" + image
	if p.backOff.IsInBackOffSinceUpdate(backOffKey, p.clock.Now()) {
		message := fmt.Sprintf("Back-off pulling image %q", image)
		p.recorder.Event(object, v1.EventTypeNormal, "BackOff", message)
		if record != nil && record.reason != "" {
			message = fmt.Sprintf("%s: %s: %s", message, record.reason, record.message)
		}
		retry := p.backOff.Get(backOffKey)
		if record != nil {
			retry -= p.clock.Since(record.failed)
		}
		return Result{Reason: ReasonPullBackOff, Message: message, Retry: max(retry, time.Second)}
	}

	started := &pull{}
	p.mu.Lock()
	p.records[id] = started
	p.mu.Unlock()
	go func() {
		ref, reason, message := p.pull(ctx, pod, object, spec, repository, policy)
		if reason != "" {
			p.backOff.Next(backOffKey, p.clock.Now())
		}
		p.mu.Lock()
		started.ref, started.reason, started.message, started.failed, started.done = ref, reason, message, p.clock.Now(), true
		p.mu.Unlock()
		p.wake(pod.UID)
	}()
	return Result{Pulling: true}
}

// Forget drops what is remembered of a pod.
func (p *Puller) Forget(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.records {
		if id.pod == uid {
			delete(p.records, id)
			p.backOff.DeleteEntry(string(id.pod) + "_" + id.image)
		}
	}
	p.backOff.GC()
}

// inspect looks for an image on the node, by the reference that a pull returned or else by name.
func (p *Puller) inspect(ctx context.Context, spec *runtimeapi.ImageSpec, ref string, object runtime.Object) Result {
	ask := spec
	if ref != "" {
		ask = &runtimeapi.ImageSpec{Image: ref}
	}
	response, err := p.images.ImageStatus(ctx, ask, false)
	if err != nil {
		message := fmt.Sprintf("Failed to inspect image %q: %v", ask.Image, err)
		p.recorder.Event(object, v1.EventTypeWarning, "InspectFailed", message)
		return Result{Reason: ReasonInspect, Message: message, Retry: backOffStart}
	}
	image := response.GetImage()
	if image == nil {
		return Result{}
	}
	result := Result{Ref: image.Id, Username: image.Username}
	if image.Uid != nil {
		result.UID = &image.Uid.Value
	} else if image.Username == "" {
		result.UID = new(int64) // an image that names no user runs as root
	}
	return result
}

// pull waits for its turn, and pulls with each credential that covers the repository until one works.
func (p *Puller) pull(ctx context.Context, pod *v1.Pod, object runtime.Object, spec *runtimeapi.ImageSpec, repository string, policy v1.PullPolicy) (ref, reason, message string) {
	image := spec.UserSpecifiedImage
	p.recorder.Eventf(object, v1.EventTypeNormal, "Pulling", "Pulling image %q", image)
	asked := p.clock.Now()
	unlock := p.lock(spec.Image)
	defer unlock()
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return "", ReasonPull, ctx.Err().Error()
	}
	if policy == v1.PullIfNotPresent {
		// Another pod may have brought it while we waited.
		if response, err := p.images.ImageStatus(ctx, spec, false); err == nil && response.GetImage() != nil {
			p.recorder.Eventf(object, v1.EventTypeNormal, "Pulled", "Container image %q already present on machine and can be accessed by the pod", image)
			return response.Image.Id, "", ""
		}
	}
	begin := p.clock.Now()
	ref, err := p.pullAs(ctx, spec, p.credentials(ctx, pod, repository), &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: pod.Name, Namespace: pod.Namespace, Uid: string(pod.UID)}, Annotations: pod.Annotations})
	if err != nil {
		p.recorder.Eventf(object, v1.EventTypeWarning, "Failed", "Failed to pull image %q: %v", image, err)
		reason, message = explain(image, err)
		return "", reason, message
	}
	var size uint64
	if response, err := p.images.ImageStatus(ctx, &runtimeapi.ImageSpec{Image: ref}, false); err == nil && response.GetImage() != nil {
		size = response.Image.Size
	}
	now := p.clock.Now()
	p.recorder.Eventf(object, v1.EventTypeNormal, "Pulled", "Successfully pulled image %q in %v (%v including waiting). Image size: %v bytes.",
		image, now.Sub(begin).Truncate(time.Millisecond), now.Sub(asked).Truncate(time.Millisecond), size)
	return ref, "", ""
}

func (p *Puller) pullAs(ctx context.Context, spec *runtimeapi.ImageSpec, auths []*runtimeapi.AuthConfig, config *runtimeapi.PodSandboxConfig) (string, error) {
	if len(auths) == 0 {
		return p.images.PullImage(ctx, spec, nil, config)
	}
	var errs []error
	for _, auth := range auths {
		ref, err := p.images.PullImage(ctx, spec, auth, config)
		if err == nil {
			return ref, nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 1 {
		return "", errs[0]
	}
	return "", errors.Join(errs...)
}

// credentials collects what the pod's pull secrets say of a repository; a secret that cannot be read is an event, and the
// pull is tried without it.
func (p *Puller) credentials(ctx context.Context, pod *v1.Pod, repository string) []*runtimeapi.AuthConfig {
	var all []credential
	var missing []string
	for _, ref := range pod.Spec.ImagePullSecrets {
		if ref.Name == "" {
			continue
		}
		secret, err := p.secrets.GetSecret(pod.Namespace, ref.Name)
		if err != nil {
			missing = append(missing, ref.Name)
			continue
		}
		more, err := credentialsOf(secret)
		if err != nil {
			klog.FromContext(ctx).Error(err, "Pull secret cannot be used", "pod", klog.KObj(pod))
			continue
		}
		all = append(all, more...)
	}
	if len(missing) > 0 {
		p.recorder.Eventf(pod, v1.EventTypeWarning, "FailedToRetrieveImagePullSecret",
			"Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", strings.Join(missing, ", "))
	}
	return match(all, repository)
}

// explain finds the reason that the runtime put at the head of its message, if any.
func explain(image string, err error) (reason, message string) {
	text := err.Error()
	if s, ok := status.FromError(err); ok {
		text = s.Message()
	}
	if rest, ok := strings.CutPrefix(text, ReasonUnavailable); ok {
		return ReasonUnavailable, fmt.Sprintf("image pull failed for %s because the registry is unavailable%s", image, rest)
	}
	if rest, ok := strings.CutPrefix(text, ReasonSignature); ok {
		return ReasonSignature, fmt.Sprintf("image pull failed for %s because the signature validation failed%s", image, rest)
	}
	return ReasonPull, err.Error()
}

func (p *Puller) lock(image string) (unlock func()) {
	p.mu.Lock()
	l, ok := p.locks[image]
	if !ok {
		l = &sync.Mutex{}
		p.locks[image] = l
	}
	p.mu.Unlock()
	l.Lock()
	return l.Unlock
}
