// Which kubelet a request for a Pod's log or streams goes to, and with what path. Pure but for the reader.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "api/base/result.h"
#include "control/http/server.h"

namespace google::protobuf {
class Message;
}
namespace sluice::codec {
struct KindInfo;
}

namespace sluice::apiserver {

// As registry::Api::read.
using ObjectReader = std::function<Result<std::shared_ptr<const google::protobuf::Message>>(
    const codec::KindInfo& kind, const std::string& name_space, const std::string& name)>;

struct PodRequest {
    enum class Kind { kLog, kExec, kAttach, kPortForward };
    Kind kind = Kind::kLog;
    std::string name_space;
    std::string pod;
};
// nullopt: a path of something else.
[[nodiscard]] std::optional<PodRequest> parse_pod_path(std::string_view path);

struct Streams {
    bool in = false;
    bool out = false;
    bool err = false;
    bool tty = false;
};

struct KubeletTarget {
    std::string node;  // empty: the Pod is on none yet (of a log only)
    std::string address;
    std::uint16_t port = 0;
    std::string target;  // path and query at the kubelet
    bool skip_verify = false;
    Streams streams;  // of exec and attach
};
// A node's kubelet, with no target yet; or the answer that refuses the request.
[[nodiscard]] tl::expected<KubeletTarget, http::Response> locate_kubelet(const std::string& node_name,
                                                                         const ObjectReader& reader);
[[nodiscard]] tl::expected<KubeletTarget, http::Response> find_kubelet(const PodRequest& pod,
                                                                       const http::Request& request,
                                                                       const ObjectReader& reader);

}  // namespace sluice::apiserver
