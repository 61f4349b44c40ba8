// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
)

func TestAnswersOfWebhooksAreExamined(t *testing.T) {
	things := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat("{},", n), ",") + "]" }
	review := func(patch string) string {
		text, err := json.Marshal(admissionv1.AdmissionReview{Response: &admissionv1.AdmissionResponse{Patch: []byte(patch)}})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, tt := range []struct {
		name    string
		examine func([]byte) error
		text    string
		want    string
	}{
		{"a patch", examineReview, review(`[{"op":"add","path":"/metadata/labels","value":{"a":"b"}}]`), ""},
		{"a long patch", examineReview, review(`[{"op":"add","path":"/data","value":{"a":"` + strings.Repeat("[{},", 1<<20) + `"}}]`), ""},
		{"a patch of many things", examineReview, review(`[{"op":"add","path":"/data","value":` + things(1<<20) + `}]`), "the webhook's patch has too much in it: Request entity too large: it has "},
		{"a deep patch", examineReview, review(strings.Repeat("[", 5000) + strings.Repeat("]", 5000)), "the webhook's patch has too much in it: the body is nested 5000 levels deep, limit is "},
		{"no review", examineReview, strings.Repeat("<html>", 1000), ""},
		{"a converted object", examineConversion(1000), things(1000), ""},
		{"a converted object of many things", examineConversion(1000), things(100_000), "the webhook's answer has too much in it: Request entity too large: it has "},
		{"many converted objects", examineConversion(1 << 20), things(100_000), ""},
		{"of a question that does not say how long it is", examineConversion(-1), things(1000), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := &examinedBody{ReadCloser: io.NopCloser(strings.NewReader(tt.text)), examine: tt.examine}
			n, err := io.Copy(io.Discard, body)
			switch {
			case tt.want == "":
				if err != nil || n != int64(len(tt.text)) {
					t.Errorf("%d of %d bytes, %v", n, len(tt.text), err)
				}
			case err == nil || !strings.HasPrefix(err.Error(), tt.want):
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}
