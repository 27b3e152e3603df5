// See join.h.
#include "agent/cli/join.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <thread>

#include "agent/cli/scripts.h"
#include "api/base/fd.h"
#include "api/base/ip_address.h"
#include "api/client/bootstrap.h"
#include "api/client/client.h"
#include "api/client/kubeconfig.h"
#include "api/codec/scheme.h"
#include "api/kubernetes/certificates/v1/certificatesigningrequest.pb.h"
#include "api/kubernetes/core/v1/configmap.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::cli {
namespace {

namespace certificatesv1 = ::k8s::io::api::certificates::v1;
namespace corev1 = ::k8s::io::api::core::v1;
using certificatesv1::CertificateSigningRequest;

constexpr char kUserAgent[] = "sluice-join/" SLUICE_VERSION;
constexpr char kClientSigner[] = "kubernetes.io/kube-apiserver-client-kubelet";
constexpr char kServingSigner[] = "kubernetes.io/kubelet-serving";
constexpr char kNodesGroup[] = "system:nodes";
constexpr std::chrono::milliseconds kPollInterval{200};
constexpr std::size_t kMaxNodeName = 253;

struct Paths {
    explicit Paths(const std::string& dir)
        : ca(dir + "/ca.crt"),
          kubeconfig(dir + "/kubelet.kubeconfig"),
          serving_certificate(dir + "/kubelet-serving.crt"),
          serving_key(dir + "/kubelet-serving.key") {}
    std::string ca;
    std::string kubeconfig;
    std::string serving_certificate;
    std::string serving_key;
};

// Written beside its place, 0600, and moved there: a reader sees the old file or the new one.
Result<void> write_file(const std::string& path, const std::string& text) {
    const std::string temporary = path + ".new";
    const Fd file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!file) return errno_error(errno, "cannot write {}: {}", temporary, std::strerror(errno));
    for (std::size_t done = 0; done < text.size();) {
        const ssize_t size = ::write(file.get(), text.data() + done, text.size() - done);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return errno_error(errno, "cannot write {}: {}", temporary, std::strerror(errno));
        done += static_cast<std::size_t>(size);
    }
    if (::fsync(file.get()) != 0 || ::rename(temporary.c_str(), path.c_str()) != 0) {
        return errno_error(errno, "cannot write {}: {}", path, std::strerror(errno));
    }
    return {};
}

Result<void> make_directory(const std::string& path) {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    if (error) return errno_error(error.value(), "cannot make {}: {}", path, error.message());
    if (::chmod(path.c_str(), 0700) != 0) {
        return errno_error(errno, "cannot set the mode of {}: {}", path, std::strerror(errno));
    }
    return {};
}

Result<std::string> host_name() {
    std::array<char, 256> buffer{};
    if (::gethostname(buffer.data(), buffer.size() - 1) != 0) {
        return errno_error(errno, "this machine has no name: {}", std::strerror(errno));
    }
    std::string name(buffer.data());
    for (char& c : name) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return name;
}

bool is_node_name(const std::string& name) {
    return !name.empty() && name.size() <= kMaxNodeName && name.front() != '-' && name.front() != '.' &&
           name.back() != '-' && name.back() != '.' &&
           name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-.") == std::string::npos;
}

// The address that this machine sends from when it speaks to the server; no packet is sent to find
// out.
Result<IpAddress> own_address(const client::ClientConfig& server) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_DGRAM;
    addrinfo* found = nullptr;
    const int failure = ::getaddrinfo(server.host.c_str(), std::to_string(server.port).c_str(),
                                      &hints, &found);
    if (failure != 0) {
        return make_error(Code::kNotFound, "cannot resolve {}: {}", server.host,
                          ::gai_strerror(failure));
    }
    Result<IpAddress> out = make_error(Code::kUnavailable, "no route to {}", server.host);
    const Fd socket(::socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_storage local{};
    socklen_t size = sizeof(local);
    if (socket && ::connect(socket.get(), found->ai_addr, found->ai_addrlen) == 0 &&
        ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&local), &size) == 0) {
        std::array<char, INET6_ADDRSTRLEN> text{};
        const void* address = local.ss_family == AF_INET
                                  ? static_cast<const void*>(&reinterpret_cast<sockaddr_in*>(&local)->sin_addr)
                                  : &reinterpret_cast<sockaddr_in6*>(&local)->sin6_addr;
        if (::inet_ntop(local.ss_family, address, text.data(), text.size()) != nullptr) {
            out = IpAddress::parse(text.data());
        }
    }
    ::freeaddrinfo(found);
    return out;
}

const codec::KindInfo& kind(const char* group, const char* resource) {
    return *codec::find_resource(group, "v1", resource);
}

Result<corev1::ConfigMap> read_cluster_info(const client::ClientConfig& config) {
    SLUICE_TRY_ASSIGN(auto client, client::Client::create(config, kUserAgent));
    const auto object = client->get(kind("", "configmaps"), "kube-public", "cluster-info");
    if (!object) {
        return object.error().with_context(
            fmt::format("cannot read cluster-info from {}", config.url()));
    }
    return static_cast<const corev1::ConfigMap&>(**object);
}

std::string value_of(const corev1::ConfigMap& map, const std::string& key) {
    const auto found = map.data().find(key);
    return found == map.data().end() ? std::string() : found->second;
}

// The authority's certificate out of the published kubeconfig, which names no context.
Result<std::string> authority_in(const std::string& kubeconfig) {
    const std::string contexts =
        "contexts:\n- name: c\n  context:\n    cluster: \"\"\n    user: u\n";
    std::string text = kubeconfig;
    // A kubeconfig without contexts and users is completed, so that the one reader of kubeconfigs
    // can read it.
    const auto replace = [&](const std::string& from, const std::string& to) {
        const std::size_t at = text.find(from);
        if (at != std::string::npos) text.replace(at, from.size(), to);
    };
    replace("contexts: null\n", contexts);
    replace("contexts: []\n", contexts);
    replace("users: null\n", "users:\n- name: u\n  user: {}\n");
    replace("users: []\n", "users:\n- name: u\n  user: {}\n");
    auto config = client::parse_kubeconfig(text, "", "c");
    if (!config) return config.error().with_context("cluster-info");
    if (config->ca_pem.empty()) {
        return make_error(Code::kDataLoss, "cluster-info names no certificate authority");
    }
    return config->ca_pem;
}

// What the server says of itself, believed only as far as token and pin bear it out.
Result<std::string> discover(client::ClientConfig config, const client::BootstrapToken& token,
                             const std::string& pin) {
    config.insecure_skip_tls_verify = true;
    SLUICE_TRY_ASSIGN(const auto untrusted, read_cluster_info(config));
    const std::string kubeconfig = value_of(untrusted, "kubeconfig");
    const std::string signature = value_of(untrusted, "jws-kubeconfig-" + token.id);
    if (signature.empty()) {
        return make_error(Code::kPermissionDenied,
                          "cluster-info has no signature for token {}; it may have expired: make "
                          "another by sluice-control token create",
                          token.id);
    }
    if (!client::verify_detached(kubeconfig, signature, token)) {
        return make_error(Code::kPermissionDenied,
                          "the signature of cluster-info is not that of token {}: a wrong token, or "
                          "not the server it is for",
                          token.id);
    }
    SLUICE_TRY_ASSIGN(const std::string ca_pem, authority_in(kubeconfig));
    SLUICE_TRY_ASSIGN(const bool pinned, client::matches_pin(ca_pem, pin));
    if (!pinned) {
        return make_error(Code::kPermissionDenied,
                          "the authority of {} does not have the pin {}: not the server it is for",
                          config.url(), pin);
    }
    config.insecure_skip_tls_verify = false;
    config.ca_pem = ca_pem;
    SLUICE_TRY_ASSIGN(const auto trusted, read_cluster_info(config));
    if (value_of(trusted, "kubeconfig") != kubeconfig) {
        return make_error(Code::kAborted, "cluster-info of {} changed while it was read; try again",
                          config.url());
    }
    return ca_pem;
}

// Sends a request and waits for its certificate.
Result<std::string> obtain(const client::ClientConfig& config, const char* signer,
                           const std::string& key_pem, const client::RequestSpec& spec) {
    SLUICE_TRY_ASSIGN(auto client, client::Client::create(config, kUserAgent));
    const auto& requests = kind("certificates.k8s.io", "certificatesigningrequests");
    CertificateSigningRequest request;
    SLUICE_TRY_ASSIGN(const std::string pem, client::make_request_pem(key_pem, spec));
    const bool serving = std::string_view(signer) == kServingSigner;
    const std::string name =
        (serving ? "csr-serving-" : "node-csr-") + client::sha256_hex(pem).substr(0, 32);
    request.mutable_metadata()->set_name(name);
    request.mutable_spec()->set_request(pem);
    request.mutable_spec()->set_signername(signer);
    request.mutable_spec()->add_usages("digital signature");
    request.mutable_spec()->add_usages(serving ? "server auth" : "client auth");
    if (const auto made = client->create_object(requests, request); !made) {
        return made.error().with_context(
            fmt::format("cannot send a certificate request for {}", spec.common_name));
    }
    const auto deadline =
        std::chrono::steady_clock::now() + std::chrono::milliseconds(kCertificateTimeoutMs);
    while (std::chrono::steady_clock::now() < deadline) {
        const auto object = client->get(requests, "", name);
        if (!object) return object.error().with_context("cannot read certificate request " + name);
        const auto& status = static_cast<const CertificateSigningRequest&>(**object).status();
        if (!status.certificate().empty()) return status.certificate();
        for (const auto& condition : status.conditions()) {
            if (condition.type() == "Denied" || condition.type() == "Failed") {
                return make_error(Code::kPermissionDenied, "certificate request {} was {}: {}", name,
                                  condition.type() == "Denied" ? "denied" : "not signed",
                                  condition.message());
            }
        }
        std::this_thread::sleep_for(kPollInterval);
    }
    return make_error(Code::kDeadlineExceeded,
                      "certificate request {} was not signed within {} s; kubectl get csr shows it",
                      name, kCertificateTimeoutMs / 1'000);
}

std::string kubeconfig_text(const client::ClientConfig& config, const std::string& user) {
    return fmt::format(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: default-cluster\n  cluster:\n"
        "    certificate-authority-data: {}\n    server: {}\n"
        "contexts:\n- name: default-context\n  context:\n    cluster: default-cluster\n"
        "    namespace: default\n    user: '{}'\ncurrent-context: default-context\n"
        "users:\n- name: '{}'\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\n",
        client::base64_text(config.ca_pem), config.url(), user, user,
        client::base64_text(config.certificate_pem), client::base64_text(config.private_key_pem));
}

enum class Health { kGood, kOld, kUseless };

Health health_of(const std::string& certificate, const std::string& key, const std::string& ca_pem,
                 const std::string& name) {
    const auto state = client::read_certificate_state(certificate, key, ca_pem);
    const std::int64_t now = std::time(nullptr);
    if (!state || !state->fits || state->common_name != name || now >= state->not_after_s) {
        return Health::kUseless;
    }
    const std::int64_t life = state->not_after_s - state->not_before_s;
    return (state->not_after_s - now) * 100 < life * kRenewPercent ? Health::kOld : Health::kGood;
}

// The serving certificate, unless the one that is there is good.
Result<std::string> ensure_serving(const Paths& paths, const client::ClientConfig& config,
                                   const std::string& user, const std::string& node_name,
                                   const IpAddress& node_ip) {
    const auto certificate = client::read_file(paths.serving_certificate);
    const auto old_key = client::read_file(paths.serving_key);
    if (certificate && old_key &&
        health_of(*certificate, *old_key, config.ca_pem, user) == Health::kGood) {
        return "the serving certificate is good\n";
    }
    SLUICE_TRY_ASSIGN(const std::string key, client::make_key_pem());
    client::RequestSpec spec{user, kNodesGroup, {node_name}, {node_ip}};
    SLUICE_TRY_ASSIGN(const std::string fresh, obtain(config, kServingSigner, key, spec));
    SLUICE_TRY(write_file(paths.serving_key, key));
    SLUICE_TRY(write_file(paths.serving_certificate, fresh));
    return fmt::format("wrote {}\n", paths.serving_certificate);
}

Result<std::string> ensure_client(const Paths& paths, client::ClientConfig* config,
                                  const std::string& user) {
    SLUICE_TRY_ASSIGN(const std::string key, client::make_key_pem());
    SLUICE_TRY_ASSIGN(const std::string certificate,
                      obtain(*config, kClientSigner, key, {user, kNodesGroup, {}, {}}));
    config->token.clear();
    config->certificate_pem = certificate;
    config->private_key_pem = key;
    SLUICE_TRY(write_file(paths.kubeconfig, kubeconfig_text(*config, user)));
    return fmt::format("wrote {}\n", paths.kubeconfig);
}

Result<std::string> renew(const Paths& paths, const JoinOptions& options) {
    auto config = client::load_kubeconfig(paths.kubeconfig);
    if (!config) return config.error().with_context("there is nothing to renew");
    SLUICE_TRY_ASSIGN(const auto state, client::read_certificate_state(config->certificate_pem,
                                                                       config->private_key_pem,
                                                                       config->ca_pem));
    const std::string& user = state.common_name;
    constexpr std::string_view kPrefix = "system:node:";
    if (!user.starts_with(kPrefix)) {
        return make_error(Code::kFailedPrecondition, "{} is not a node's: its user is {}",
                          paths.kubeconfig, user);
    }
    const std::string name = user.substr(kPrefix.size());
    if (!options.node_name.empty() && options.node_name != name) {
        return make_error(Code::kFailedPrecondition, "{} is that of node {}, not {}",
                          paths.kubeconfig, name, options.node_name);
    }
    std::string report;
    switch (health_of(config->certificate_pem, config->private_key_pem, config->ca_pem, user)) {
        case Health::kUseless:
            return make_error(Code::kFailedPrecondition,
                              "the certificate in {} has ended; join anew with a bootstrap token",
                              paths.kubeconfig);
        case Health::kGood: report = "the client certificate is good\n"; break;
        case Health::kOld: {
            SLUICE_TRY_ASSIGN(report, ensure_client(paths, &*config, user));
            break;
        }
    }
    Result<IpAddress> address = options.node_ip.empty() ? own_address(*config)
                                                        : IpAddress::parse(options.node_ip);
    if (!address) return address.error();
    SLUICE_TRY_ASSIGN(const std::string serving,
                      ensure_serving(paths, *config, user, name, *address));
    return report + serving;
}

}  // namespace

Result<std::string> join(const JoinOptions& options) {
    const Paths paths(options.data_dir);
    if (options.renew) return renew(paths, options);
    const auto token = client::parse_bootstrap_token(options.token);
    if (!token) return token.error().with_context("--token");
    // The form alone, before anything is asked of anybody.
    if (const auto pin = client::matches_pin("", options.pin); !pin) {
        return pin.error().with_context("--discovery-token-ca-cert-hash");
    }
    client::ClientConfig config;
    if (auto parsed = client::parse_server_url("https://" + options.server, &config); !parsed) {
        return make_error(Code::kInvalidArgument, "SERVER \"{}\": {}", options.server,
                          parsed.error().message);
    }
    std::string name = options.node_name;
    if (name.empty()) {
        SLUICE_TRY_ASSIGN(name, host_name());
    }
    if (!is_node_name(name)) {
        return make_error(Code::kInvalidArgument,
                          "--node-name \"{}\" is no node name: small letters, digits, - and .", name);
    }
    Result<IpAddress> address =
        options.node_ip.empty() ? own_address(config) : IpAddress::parse(options.node_ip);
    if (!address) {
        return make_error(Code::kInvalidArgument, "--node-ip \"{}\": {}", options.node_ip,
                          address.error().message);
    }
    SLUICE_TRY_ASSIGN(config.ca_pem, discover(config, *token, options.pin));
    SLUICE_TRY(make_directory(options.data_dir));

    const std::string user = "system:node:" + name;
    std::string report;
    const auto present = client::load_kubeconfig(paths.kubeconfig);
    if (present && present->url() == config.url() &&
        health_of(present->certificate_pem, present->private_key_pem, config.ca_pem, user) ==
            Health::kGood) {
        config.certificate_pem = present->certificate_pem;
        config.private_key_pem = present->private_key_pem;
        report = "the client certificate is good\n";
    } else {
        config.token = token->text();
        SLUICE_TRY_ASSIGN(report, ensure_client(paths, &config, user));
    }
    SLUICE_TRY(write_file(paths.ca, config.ca_pem));
    SLUICE_TRY_ASSIGN(const std::string serving,
                      ensure_serving(paths, config, user, name, *address));
    return report + serving + fmt::format("node {} has joined {}\n", name, config.url());
}

Error start_node(const JoinOptions& options) {
    // The certificate is for this name and address, whatever the host is called.
    if (!options.node_name.empty()) ::setenv("SLUICE_NODE_NAME", options.node_name.c_str(), 1);
    if (!options.node_ip.empty()) ::setenv("SLUICE_NODE_IP", options.node_ip.c_str(), 1);
    return run_script("up", {"--join-data", options.data_dir});
}

}  // namespace sluice::cli
