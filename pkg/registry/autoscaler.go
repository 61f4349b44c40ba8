// SPDX-License-Identifier: Apache-2.0

package registry

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/hivemind-project/hivemind/apis/autoscaling"
)

// addAutoscalers joins the two Go types of HorizontalPodAutoscaler: autoscaling/v2's is the hub and what is stored, autoscaling/v1 is
// converted to and from it.
func addAutoscalers(s *runtime.Scheme) error {
	gv := autoscalingv1.SchemeGroupVersion
	s.AddKnownTypes(gv, &autoscalingv1.HorizontalPodAutoscaler{}, &autoscalingv1.HorizontalPodAutoscalerList{})
	s.AddTypeDefaultingFunc(&autoscalingv1.HorizontalPodAutoscaler{}, func(obj any) {
		if spec := &obj.(*autoscalingv1.HorizontalPodAutoscaler).Spec; spec.MinReplicas == nil {
			spec.MinReplicas = ptr.To[int32](1)
		}
	})
	if err := addConversions(s,
		pair{(*autoscalingv1.HorizontalPodAutoscaler)(nil), (*autoscalingv2.HorizontalPodAutoscaler)(nil), func(from, to any) error {
			*to.(*autoscalingv2.HorizontalPodAutoscaler) = *autoscaling.FromV1(from.(*autoscalingv1.HorizontalPodAutoscaler))
			return nil
		}},
		pair{(*autoscalingv2.HorizontalPodAutoscaler)(nil), (*autoscalingv1.HorizontalPodAutoscaler)(nil), func(from, to any) error {
			v1, err := autoscaling.ToV1(from.(*autoscalingv2.HorizontalPodAutoscaler))
			if err == nil {
				*to.(*autoscalingv1.HorizontalPodAutoscaler) = *v1
			}
			return err
		}},
		pair{(*autoscalingv1.HorizontalPodAutoscalerList)(nil), (*autoscalingv2.HorizontalPodAutoscalerList)(nil), func(from, to any) error {
			in, out := from.(*autoscalingv1.HorizontalPodAutoscalerList), to.(*autoscalingv2.HorizontalPodAutoscalerList)
			out.ListMeta, out.Items = in.ListMeta, make([]autoscalingv2.HorizontalPodAutoscaler, len(in.Items))
			for i := range in.Items {
				out.Items[i] = *autoscaling.FromV1(&in.Items[i])
			}
			return nil
		}},
		pair{(*autoscalingv2.HorizontalPodAutoscalerList)(nil), (*autoscalingv1.HorizontalPodAutoscalerList)(nil), func(from, to any) error {
			in, out := from.(*autoscalingv2.HorizontalPodAutoscalerList), to.(*autoscalingv1.HorizontalPodAutoscalerList)
			out.ListMeta, out.Items = in.ListMeta, make([]autoscalingv1.HorizontalPodAutoscaler, len(in.Items))
			for i := range in.Items {
				v1, err := autoscaling.ToV1(&in.Items[i])
				if err != nil {
					return err
				}
				out.Items[i] = *v1
			}
			return nil
		}},
	); err != nil {
		return err
	}
	return s.AddFieldLabelConversionFunc(gv.WithKind("HorizontalPodAutoscaler"), runtime.DefaultMetaV1FieldSelectorConversion)
}

// pair is how one Go type becomes another.
type pair struct {
	from, to any
	convert  func(from, to any) error
}

// addConversions registers conversions between the Go types of one kind.
func addConversions(s *runtime.Scheme, pairs ...pair) error {
	for _, p := range pairs {
		err := s.AddConversionFunc(p.from, p.to, func(from, to any, _ conversion.Scope) error { return p.convert(from, to) })
		if err != nil {
			return err
		}
	}
	return nil
}
