// Cost of one object in each direction and encoding.
#include <benchmark/benchmark.h>

#include "api/codec/json.h"
#include "api/codec/protobuf.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "api/kubernetes/core/v1/service.pb.h"

namespace sluice::codec {
namespace {

using Service = ::k8s::io::api::core::v1::Service;
using Pod = ::k8s::io::api::core::v1::Pod;

constexpr std::string_view kService =
    R"({"kind":"Service","apiVersion":"v1","metadata":{"name":"web","namespace":"default","uid":"0ffcdeea-83e3-4a55-a329-107ae5b93004","resourceVersion":"268","creationTimestamp":"2026-11-20T21:54:47Z","labels":{"app":"web","tier":"front"},"annotations":{"example.com/owner":"team"}},"spec":{"ports":[{"name":"http","protocol":"TCP","port":80,"targetPort":8080,"nodePort":30080},{"name":"https","protocol":"TCP","port":443,"targetPort":"tls"}],"selector":{"app":"web"},"clusterIP":"10.96.0.10","clusterIPs":["10.96.0.10"],"type":"NodePort","sessionAffinity":"None","externalTrafficPolicy":"Cluster","ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack","internalTrafficPolicy":"Cluster"},"status":{"loadBalancer":{}}})";
constexpr std::string_view kPod =
    R"({"kind":"Pod","apiVersion":"v1","metadata":{"name":"web-fc776bb5f-zb2dg","generateName":"web-fc776bb5f-","namespace":"default","uid":"0ffcdeea-83e3-4a55-a329-107ae5b93004","resourceVersion":"483","creationTimestamp":"2026-11-20T21:54:47Z","labels":{"app":"web","pod-template-hash":"fc776bb5f"},"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-fc776bb5f","uid":"1","controller":true,"blockOwnerDeletion":true}]},"spec":{"volumes":[{"name":"kube-api-access","projected":{"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},{"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}}],"defaultMode":420}}],"containers":[{"name":"c","image":"example.com/web:1.2","ports":[{"containerPort":8080,"protocol":"TCP"}],"env":[{"name":"A","value":"b"},{"name":"IP","valueFrom":{"fieldRef":{"apiVersion":"v1","fieldPath":"status.podIP"}}}],"resources":{"limits":{"cpu":"1","memory":"512Mi"},"requests":{"cpu":"100m","memory":"128Mi"}},"volumeMounts":[{"name":"kube-api-access","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}],"livenessProbe":{"httpGet":{"path":"/healthz","port":8080,"scheme":"HTTP"},"timeoutSeconds":1,"periodSeconds":10,"successThreshold":1,"failureThreshold":3},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"default","serviceAccount":"default","nodeName":"node-1","securityContext":{},"schedulerName":"default-scheduler","tolerations":[{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}],"priority":0,"enableServiceLinks":true,"preemptionPolicy":"PreemptLowerPriority"},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastProbeTime":null,"lastTransitionTime":"2026-11-20T21:54:49Z"}],"hostIP":"192.0.2.1","podIP":"10.244.0.5","podIPs":[{"ip":"10.244.0.5"}],"startTime":"2026-11-20T21:54:47Z","containerStatuses":[{"name":"c","state":{"running":{"startedAt":"2026-11-20T21:54:48Z"}},"lastState":{},"ready":true,"restartCount":0,"image":"example.com/web:1.2","imageID":"sha256:1","containerID":"containerd://2","started":true}],"qosClass":"Burstable"}})";

template <class T>
T object_of(std::string_view text) {
    T object;
    SLUICE_ASSERT(decode_json(text, &object));
    return object;
}

template <class T, const std::string_view& text>
void decode(benchmark::State& state) {
    T object;
    for (auto _ : state) SLUICE_ASSERT(decode_json(text, &object));
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
}

template <class T, const std::string_view& text>
void decode_strict(benchmark::State& state) {
    T object;
    for (auto _ : state) {
        FieldWarnings warnings;
        SLUICE_ASSERT(decode_json(text, &object, &warnings));
    }
}

template <class T, const std::string_view& text>
void encode(benchmark::State& state) {
    const T object = object_of<T>(text);
    const GroupVersionKind gvk{"", "v1", "Kind"};
    std::string out;
    for (auto _ : state) {
        out.clear();
        append_json(object, &gvk, &out);
        benchmark::DoNotOptimize(out.data());
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(out.size()));
}

template <class T, const std::string_view& text>
void protobuf_decode(benchmark::State& state) {
    const std::string bytes = encode_protobuf_raw(object_of<T>(text));
    T object;
    for (auto _ : state) SLUICE_ASSERT(decode_protobuf_raw(bytes, &object));
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes.size()));
}

template <class T, const std::string_view& text>
void protobuf_encode(benchmark::State& state) {
    const T object = object_of<T>(text);
    for (auto _ : state) benchmark::DoNotOptimize(encode_protobuf_raw(object));
}

BENCHMARK(decode<Service, kService>)->Name("json_decode/service");
BENCHMARK(decode<Pod, kPod>)->Name("json_decode/pod");
BENCHMARK(decode_strict<Service, kService>)->Name("json_decode_strict/service");
BENCHMARK(decode_strict<Pod, kPod>)->Name("json_decode_strict/pod");
BENCHMARK(encode<Service, kService>)->Name("json_encode/service");
BENCHMARK(encode<Pod, kPod>)->Name("json_encode/pod");
BENCHMARK(protobuf_decode<Service, kService>)->Name("protobuf_decode/service");
BENCHMARK(protobuf_decode<Pod, kPod>)->Name("protobuf_decode/pod");
BENCHMARK(protobuf_encode<Service, kService>)->Name("protobuf_encode/service");
BENCHMARK(protobuf_encode<Pod, kPod>)->Name("protobuf_encode/pod");

}  // namespace
}  // namespace sluice::codec
