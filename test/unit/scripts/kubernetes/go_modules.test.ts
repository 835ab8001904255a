import { expect, test } from "vitest";
import {
  flannelModule,
  kubernetesModule,
  plainModule,
} from "../../../../scripts/kubernetes/go_modules.ts";

test("Kubernetes' own modules are replaced by those of the same release", () => {
  const goMod = `module k8s.io/kubernetes

require k8s.io/klog/v2 v2.130.1

replace (
	k8s.io/api => ./staging/src/k8s.io/api
	k8s.io/component-base => ./staging/src/k8s.io/component-base
	example.org/fork => example.org/other v1.0.0
)
`;
  const files = kubernetesModule("v1.34.4", goMod, ["k8s.io/kubernetes/cmd/kubelet"]);
  expect(files["go.mod"]).toContain("require k8s.io/kubernetes v1.34.4\n");
  expect(files["go.mod"]?.match(/^replace .*$/gm)).toEqual([
    "replace k8s.io/api => k8s.io/api v0.34.4",
    "replace k8s.io/component-base => k8s.io/component-base v0.34.4",
  ]);
  expect(files["tools.go"]?.match(/import .*/g)).toEqual([
    'import _ "k8s.io/kubernetes/cmd/kubelet"',
  ]);
});

test("a go.mod without modules of its own is not Kubernetes'", () => {
  expect(() => kubernetesModule("v1.34.4", "module x\n", ["kubelet"])).toThrow("./staging");
});

test("flannel is built without the cloud's package", () => {
  const files = flannelModule("v0.28.10", ["github.com/flannel-io/flannel"]);
  const cloud = "github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/vpc";
  expect(files["go.mod"]).toContain(`replace ${cloud} => ./cloud\n`);
  expect(files["cloud/go.mod"]).toContain(`module ${cloud}\n`);
});

test("helm is built as it is", () => {
  const files = plainModule("helm.sh/helm/v3", "v3.19.5", ["helm.sh/helm/v3/cmd/helm"]);
  expect(files["go.mod"]).toContain("require helm.sh/helm/v3 v3.19.5\n");
  expect(files["tools.go"]).toContain('import _ "helm.sh/helm/v3/cmd/helm"');
});
