// How to reach an API server and as whom: from a kubeconfig file, or from what a pod finds in its file system.
// yaml-cpp and JSON stay behind kubeconfig.cc.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "api/base/result.h"

namespace sluice::client {

// A kubeconfig or one of the files it names that is larger than this is refused.
inline constexpr std::size_t kMaxConfigFileBytes = 4U << 20U;

// Everything a connection needs. PEM texts are already read; token_file is read again as it is rotated.
struct ClientConfig {
    bool tls = true;
    std::string host;         // name, or an address without brackets
    std::uint16_t port = 443;
    std::string path_prefix;  // "" or "/clusters/c1"; before every request's path
    std::string ca_pem;       // empty: the system's authorities
    std::string certificate_pem;
    std::string private_key_pem;
    std::string token;
    std::string token_file;       // preferred over token while it can be read
    std::string username, password;  // HTTP basic, where there is no token
    std::string tls_server_name;  // name to verify instead of host
    bool insecure_skip_tls_verify = false;
    std::string impersonate_user;
    std::string namespace_name;  // the context's; empty: default

    // "https://10.0.0.1:6443", "https://[::1]:6443/prefix".
    [[nodiscard]] std::string url() const;
};

// Sets tls, host, port and path_prefix from "https://HOST[:PORT][/PREFIX]"; without a scheme, https.
// kInvalidArgument for anything else, user information and queries included.
Result<void> parse_server_url(std::string_view url, ClientConfig* config);

// text: YAML or JSON. base_dir: what relative file names are relative to. context: empty for current-context.
// Errors name the field ("users[admin].user.exec"). Credential plug-ins (exec, auth-provider), proxies and client
// keys without a certificate are refused rather than ignored.
Result<ClientConfig> parse_kubeconfig(std::string_view text, const std::string& base_dir,
                                      const std::string& context = {});
Result<ClientConfig> load_kubeconfig(const std::string& path, const std::string& context = {});

// As a pod does it: KUBERNETES_SERVICE_HOST and _PORT, and the service account's token and CA below root.
Result<ClientConfig> in_cluster_config(
    const std::string& root = "/var/run/secrets/kubernetes.io/serviceaccount");

// Reads a whole file of at most limit bytes; kNotFound, kPermissionDenied and kResourceExhausted name it.
Result<std::string> read_file(const std::string& path, std::size_t limit = kMaxConfigFileBytes);

}  // namespace sluice::client
