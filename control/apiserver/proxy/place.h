// Which server a request to pods/NAME/proxy, services/NAME/proxy or nodes/NAME/proxy goes to. Pure but for the reader.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "control/apiserver/proxy/target.h"
#include "control/http/server.h"

namespace sluice::apiserver {

struct ProxyRequest {
    enum class Kind : std::uint8_t { kPod, kService, kNode };
    Kind kind = Kind::kPod;
    std::string name_space;
    std::string id;      // "[SCHEME:]NAME[:PORT]"
    std::string prefix;  // escaped, up to "/proxy": what the target has to do without
    std::string rest;    // escaped: the path that the server is asked for, "" or "/..."
};
// target: escaped, with the query. nullopt: a path of something else.
[[nodiscard]] std::optional<ProxyRequest> parse_proxy_target(std::string_view target);

struct ProxyId {
    std::string scheme;  // "", "http", "https"
    std::string name;
    std::string port;  // "", a number, or of a Service a name
};
// nullopt: it is none.
[[nodiscard]] std::optional<ProxyId> split_proxy_id(std::string_view id);

struct ProxyPlace {
    std::string address;
    std::uint16_t port = 0;
    bool tls = false;      // whatever its certificate says, as clients of a Pod have no authority to know it by
    bool kubelet = false;  // by TLS with the certificates that kubelets know
};
// Or the answer that refuses the request. random: chooses among the endpoints of a Service.
[[nodiscard]] tl::expected<ProxyPlace, http::Response> find_place(const ProxyRequest& request,
                                                                  const ObjectReader& reader, std::uint32_t random);

}  // namespace sluice::apiserver
