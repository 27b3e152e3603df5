// Pods and nodes for tests and benchmarks, from JSON as a person would write it.
#pragma once

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "api/codec/json.h"
#include "api/kubernetes/core/v1/namespace.pb.h"
#include "api/kubernetes/core/v1/node.pb.h"
#include "api/kubernetes/core/v1/pod.pb.h"
#include "control/scheduler/core.h"

namespace sluice::scheduler::testing {

using Pod = ::k8s::io::api::core::v1::Pod;
using Node = ::k8s::io::api::core::v1::Node;

template <class T>
T from_json(const std::string& text) {
    T out;
    const auto decoded = codec::decode_json(text, &out);
    EXPECT_TRUE(decoded) << text << (decoded ? "" : decoded.error().message);
    return out;
}

// spec: the members of spec, without braces; metadata: more members of metadata, each with a leading comma.
inline std::shared_ptr<const Pod> make_pod(const std::string& name, const std::string& spec = "",
                                           const std::string& metadata = "") {
    auto pod = std::make_shared<Pod>(from_json<Pod>(fmt::format(
        R"({{"metadata":{{"name":"{0}","namespace":"default","uid":"uid-{0}"{1}}},)"
        R"("spec":{{{2}}}}})",
        name, metadata, spec)));
    if (!pod->spec().has_schedulername()) pod->mutable_spec()->set_schedulername("default-scheduler");
    return pod;
}

inline std::string requests(const std::string& cpu, const std::string& memory) {
    return fmt::format(
        R"("containers":[{{"name":"c","resources":{{"requests":{{"cpu":"{}","memory":"{}"}}}}}}])",
        cpu, memory);
}

inline Node make_node(const std::string& name, const std::string& spec = "",
                      const std::string& labels = "",
                      const std::string& allocatable =
                          R"("cpu":"4","memory":"8Gi","pods":"110","ephemeral-storage":"10Gi")") {
    return from_json<Node>(fmt::format(
        R"({{"metadata":{{"name":"{0}","labels":{{"kubernetes.io/hostname":"{0}"{1}}}}},)"
        R"("spec":{{{2}}},"status":{{"allocatable":{{{3}}}}}}})",
        name, labels, spec, allocatable));
}

inline std::shared_ptr<const Pod> assigned(const std::shared_ptr<const Pod>& pod,
                                           const std::string& node) {
    auto out = std::make_shared<Pod>(*pod);
    out->mutable_spec()->set_nodename(node);
    return out;
}

inline PodPointer facts(const std::shared_ptr<const Pod>& pod) {
    auto read = read_pod(pod);
    EXPECT_TRUE(read) << (read ? "" : read.error().message);
    return read ? *read : std::make_shared<PodFacts>();
}

}  // namespace sluice::scheduler::testing
