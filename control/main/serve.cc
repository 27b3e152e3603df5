#include "control/main/serve.h"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <memory>

#include "api/base/log.h"
#include "api/codec/scheme.h"
#include "api/kubernetes/core/v1/secret.pb.h"
#include "control/apiserver/admission/admission.h"
#include "control/apiserver/admission/policy/policies.h"
#include "control/apiserver/admission/webhooks/webhooks.h"
#include "control/apiserver/aggregator/aggregator.h"
#include "control/apiserver/authentication/bootstrap_tokens.h"
#include "control/apiserver/authentication/token_file.h"
#include "control/apiserver/authorization/feed.h"
#include "control/apiserver/audit/auditor.h"
#include "control/apiserver/audit/to_json.h"
#include "control/apiserver/flowcontrol/feed.h"
#include "control/apiserver/flowcontrol/gate.h"
#include "control/apiserver/handler.h"
#include "control/apiserver/proxy/http_proxy.h"
#include "control/apiserver/proxy/pod_proxy.h"
#include "control/apiserver/relay/relay.h"
#include "control/apiserver/service_accounts/authority.h"
#include "control/apiserver/service_accounts/requests.h"
#include "control/http/server.h"
#include "control/http/status_body.h"
#include "control/pki/files.h"
#include "control/pki/kubeconfig.h"
#include "control/pki/pki.h"
#include "control/apiserver/registry/api.h"
#include "control/main/components.h"
#include "control/main/network.h"
#include "control/main/snapshot_socket.h"
#include "control/store/store.h"

namespace sluice::control {
namespace {

constexpr std::string_view kComponent = "control";
constexpr std::uint32_t kShutdownGraceMs = 10'000;
constexpr std::size_t kMaxNameBytes = 256;

constexpr const char* kAdminUser = "kubernetes-admin";
constexpr const char* kAdminGroup = "system:masters";
// The name and group that Kubernetes' own role for service proxies is bound to.
constexpr const char* kAgentUser = "system:kube-proxy";
constexpr const char* kAgentGroup = "system:node-proxiers";
constexpr const char* kKubeletClientUser = "kube-apiserver-kubelet-client";
constexpr const char* kFrontProxyUser = "front-proxy-client";

std::string pki_path(const std::string& data_dir) { return data_dir + "/pki"; }

Result<void> make_data_directory(const std::string& path) {
    const std::filesystem::path parent = std::filesystem::path(path).parent_path();
    if (!parent.empty()) {
        std::error_code error;
        std::filesystem::create_directories(parent, error);
        if (error) {
            return errno_error(error.value(), "cannot make the directory {}: {}", parent.string(),
                               error.message());
        }
    }
    return pki::make_private_directory(path);
}

// Where clients on this machine reach the server.
std::string local_url(const Endpoint& listen, std::uint16_t port) {
    Endpoint endpoint{listen.address, port};
    if (endpoint.address.is_unspecified()) {
        endpoint.address = *IpAddress::parse(endpoint.address.is_v4() ? "127.0.0.1" : "::1");
    }
    return "https://" + endpoint.to_string();
}

struct Certificates {
    std::string ca_pem;
    pki::KeyPair server;
    pki::KeyPair admin;
    pki::KeyPair agent;
    ComponentCertificates components;
    pki::KeyPair kubelet_client;  // what kubelets know the API server by
    // What other API servers know it by, of an authority for that alone: who has its key can be anybody there.
    std::string front_proxy_ca_pem;
    pki::KeyPair front_proxy;
};

Result<Certificates> load_certificates(const ServeOptions& options) {
    SLUICE_TRY_ASSIGN(auto directory, pki::Directory::open(pki_path(options.data_dir),
                                                           std::time(nullptr)));
    const ServerNames names = server_names(options.tls_sans, options.listen, options.service_cidrs,
                                           host_name());
    Certificates out;
    out.ca_pem = directory.ca_pem();
    SLUICE_TRY_ASSIGN(out.server, directory.server(names.dns, names.addresses));
    SLUICE_TRY_ASSIGN(out.admin, directory.client("admin", kAdminUser, {kAdminGroup}));
    SLUICE_TRY_ASSIGN(out.agent, directory.client("agent", kAgentUser, {kAgentGroup}));
    SLUICE_TRY_ASSIGN(out.components, load_component_certificates(directory, options));
    SLUICE_TRY_ASSIGN(out.kubelet_client, directory.client("apiserver-kubelet-client",
                                                           kKubeletClientUser, {kAdminGroup}));
    SLUICE_TRY_ASSIGN(auto front_proxy, pki::Directory::open(pki_path(options.data_dir) + "/front-proxy",
                                                             std::time(nullptr)));
    out.front_proxy_ca_pem = front_proxy.ca_pem();
    SLUICE_TRY_ASSIGN(out.front_proxy, front_proxy.client(kFrontProxyUser, kFrontProxyUser, {}));
    return out;
}

// No path: no tokens.
Result<void> load_tokens(const std::string& path, authentication::TokenFile* tokens) {
    if (path.empty()) return {};
    auto loaded = authentication::TokenFile::load(path);
    if (!loaded) return loaded.error().with_context("--token-auth-file");
    *tokens = std::move(*loaded);
    return {};
}

// Who a bearer token stands for: the file's tokens first, then the cluster's bootstrap tokens.
std::optional<http::Identity> authenticate(std::string_view token,
                                           const authentication::TokenFile& tokens,
                                           registry::Api* api) {
    if (auto found = tokens.find(token)) return found;
    if (api == nullptr) return std::nullopt;
    const auto read = [api](const std::string& name) -> authentication::SecretPtr {
        auto object = api->read(*codec::find_resource("", "v1", "secrets"),
                                authentication::kTokenNamespace, name);
        if (!object) return nullptr;
        return std::static_pointer_cast<const ::k8s::io::api::core::v1::Secret>(*object);
    };
    return authentication::authenticate_bootstrap_token(token, read, std::time(nullptr));
}

Result<service_accounts::KeyRing> load_token_keys(const ServeOptions& options) {
    return service_accounts::KeyRing::load(pki_path(options.data_dir), options.tokens.signing_key_file,
                                           options.tokens.key_files);
}

// Tokens of service accounts. `advertised`: where clients reach the server, "10.0.0.1:6443".
service_accounts::Options token_options(const TokenFlags& flags, const std::string& advertised) {
    service_accounts::Options out;
    if (!flags.issuers.empty()) out.issuers = flags.issuers;
    out.audiences = flags.audiences;
    out.jwks_uri = flags.jwks_uri.empty() ? "https://" + advertised + "/openid/v1/jwks" : flags.jwks_uri;
    out.max_token_s = flags.max_expiration_s;
    out.extend_expiration = flags.extend_expiration;
    return out;
}

// What the controllers sign tokens of Secrets with: the key stays here.
auto secret_signer(const service_accounts::Authority& tokens) {
    return [&tokens](const std::string& name_space, const std::string& secret, const std::string& account,
                     const std::string& account_uid) {
        return tokens.issue_legacy(name_space, secret, {account, account_uid});
    };
}

Result<void> start_aggregator(const Certificates& certificates, registry::Api& api, apiserver::ApiServer& api_server,
                              std::unique_ptr<aggregator::Aggregator>* out) {
    auto made = std::make_unique<aggregator::Aggregator>(
        api,
        aggregator::FrontProxy{certificates.front_proxy.certificate_pem, certificates.front_proxy.private_key_pem, {}},
        [&api_server](std::vector<aggregator::RemoteVersion> versions) {
            api_server.set_remote_versions(std::move(versions));
        });
    if (auto started = made->start({certificates.ca_pem, certificates.front_proxy_ca_pem}); !started) {
        return started.error().with_context("aggregation");
    }
    *out = std::move(made);
    return {};
}

Result<void> start_proxy(const Certificates& certificates, registry::Api& api, relay::Relay& relay,
                         std::unique_ptr<apiserver::PodProxy>* proxy) {
    apiserver::PodProxyOptions options;
    options.ca_pem = certificates.ca_pem;
    options.certificate_pem = certificates.kubelet_client.certificate_pem;
    options.private_key_pem = certificates.kubelet_client.private_key_pem;
    options.pass = [&relay](http::DialRequest dial, const auto& request, auto responder) {
        relay.forward(std::move(dial), request, std::move(responder));
    };
    SLUICE_TRY_ASSIGN(*proxy, apiserver::PodProxy::create(
                                  options, [&api](const auto& kind, const auto& name_space,
                                                  const auto& name) {
                                      return api.read(kind, name_space, name);
                                  }));
    return {};
}

}  // namespace

Result<void> serve(const ServeOptions& options, const sigset_t& signals) {
    SLUICE_TRY(make_data_directory(options.data_dir));
    // The store first: its lock keeps a second process out of the whole directory.
    SLUICE_TRY_ASSIGN(Storage storage, open_storage(options.data_dir, options.storage));
    std::unique_ptr<store::Store>& store = storage.store;
    std::unique_ptr<SnapshotSocket> snapshots;
    if (options.storage.etcd_servers.empty()) {
        auto listening = SnapshotSocket::listen(options.data_dir, *storage.stored);
        if (listening) {
            snapshots = std::move(*listening);
        } else {
            log::warn(kComponent, "no snapshots while this runs: {}", listening.error().message);
        }
    }
    SLUICE_TRY_ASSIGN(const Certificates certificates, load_certificates(options));

    authorization::Authorizer authorizer(options.authorization_modes);
    admission::Webhooks webhooks(authorizer,
                                 options.admission_plugins.has(admission::Plugin::kMutatingAdmissionWebhook),
                                 options.admission_plugins.has(admission::Plugin::kValidatingAdmissionWebhook));
    admission::Policies policies(authorizer);
    const admission::Plugins plugins(authorizer, options.admission_plugins, &webhooks, &policies);
    audit::AuditOptions audit_options = options.requests.audit;
    audit_options.to_json = audit::body_to_json;
    SLUICE_TRY_ASSIGN(const auto auditor, audit::Auditor::create(std::move(audit_options)));
    flowcontrol::Gate gate(options.requests.gate);  // goes after the listener whose requests wait in it
    relay::Relay proxy_relay;                       // goes after the listener whose requests it answers
    std::unique_ptr<apiserver::PodProxy> proxy;  // so does this one
    std::unique_ptr<aggregator::Aggregator> aggregator;  // and this one
    // The listener comes before what it serves, so that the port, which may be any free one, is known.
    std::atomic<apiserver::ApiServer*> serving{nullptr};
    http::ServerOptions server_options;
    server_options.address = options.listen.address.to_string();
    server_options.port = options.listen.port;
    server_options.certificate_pem = certificates.server.certificate_pem;
    server_options.private_key_pem = certificates.server.private_key_pem;
    server_options.client_ca_pem = certificates.ca_pem;
    server_options.timeouts.request_ms = options.requests.request_timeout_ms;
    server_options.goaway_chance = options.requests.goaway_chance;
    if (options.requests.max_streams > 0) {
        server_options.max_concurrent_streams = options.requests.max_streams;
    }
    authentication::TokenFile tokens;
    SLUICE_TRY(load_tokens(options.token_auth_file, &tokens));
    // Bootstrap tokens are Secrets, which can be read as soon as there is an API.
    std::atomic<registry::Api*> secrets{nullptr};
    SLUICE_TRY_ASSIGN(auto token_keys, load_token_keys(options));
    // The address that keys are found at is known once there is a listener, which asks for nothing before.
    service_accounts::Reader token_reader;
    std::optional<service_accounts::Authority> token_authority;
    std::optional<service_accounts::TokenRequests> token_requests;
    std::atomic<const service_accounts::TokenRequests*> token_judge{nullptr};
    server_options.authenticate_token = [&](std::string_view token) -> std::optional<http::Identity> {
        if (const auto* judge = token_judge.load(std::memory_order_acquire)) return judge->identify(token);
        return tokens.find(token);
    };
    server_options.is_untimed = apiserver::HttpProxy::is_untimed;
    SLUICE_TRY_ASSIGN(
        auto server,
        http::listen(server_options, [&serving](std::shared_ptr<http::Request> request,
                                                std::shared_ptr<http::Responder> responder) {
            if (auto* api_server = serving.load(std::memory_order_acquire)) {
                api_server->handle(std::move(request), std::move(responder));
            } else {
                responder->send(http::status_response(503, "ServiceUnavailable",
                                                      "the server is starting"));
            }
        }));

    registry::ApiOptions api_options;
    api_options.service_cidrs = options.service_cidrs;
    api_options.nodeport_min = options.node_port_min;
    api_options.nodeport_max = options.node_port_max;
    api_options.advertise_address = advertised_address(options.listen.address).to_string();
    api_options.advertise_port = server->port();
    api_options.event_ttl_s = options.event_ttl_s;
    api_options.not_ready_toleration_s = options.not_ready_toleration_s;
    api_options.unreachable_toleration_s = options.unreachable_toleration_s;
    const Endpoint advertised{advertised_address(options.listen.address), server->port()};
    apiserver::ApiServer api_server(*store, advertised.to_string(),
                                    [raw = server.get()] { return raw->stats(); });
    api_server.set_anonymous(options.anonymous_auth);
    api_server.set_auditor(auditor);
    api_server.set_gate(&gate);
    api_server.add_metrics([&webhooks] { return webhooks.metrics(); });
    api_server.add_metrics([&policies] { return policies.metrics(); });
    api_server.add_metrics([&proxy_relay] { return proxy_relay.metrics("sluice_proxy", "pods, services and nodes"); });
    token_authority.emplace(token_options(options.tokens, advertised.to_string()), std::move(token_keys));
    token_requests.emplace(*token_authority, [&](std::string_view token) {
        return authenticate(token, tokens, secrets.load(std::memory_order_acquire));
    });
    api_server.set_tokens(&*token_authority, &*token_requests);
    token_judge.store(&*token_requests, std::memory_order_release);
    serving.store(&api_server, std::memory_order_release);
    auto api = registry::make_api(*store, api_options);
    Result<void> done;
    if (!api) {
        done = api.error();
    } else {
        const std::string url = local_url(options.listen, server->port());
        const std::string admin_path = options.data_dir + "/admin.kubeconfig";
        done = pki::write_kubeconfig(admin_path,
                                     {url, certificates.ca_pem, kAdminUser, certificates.admin});
        if (done) {
            done = pki::write_kubeconfig(options.data_dir + "/agent.kubeconfig",
                                         {url, certificates.ca_pem, kAgentUser, certificates.agent});
        }
        std::optional<RunningComponents> components;
        // Nothing is served before the roles are known.
        std::unique_ptr<authorization::Feed> feed;
        if (done) {
            auto started = authorization::start_feed(**api, authorizer);
            if (started) {
                feed = std::move(*started);
                (*api)->set_admission(&plugins);
                api_server.set_authorizer(&authorizer);
            } else {
                done = started.error().with_context("roles");
            }
        }
        if (done) {
            const auto started = webhooks.start(**api);
            if (!started) done = started.error().with_context("webhooks");
        }
        if (done && options.admission_plugins.has(admission::Plugin::kValidatingAdmissionPolicy)) {
            const auto started = policies.start(**api);
            if (!started) done = started.error().with_context("policies");
        }
        std::unique_ptr<flowcontrol::Feed> flow_feed;
        if (done) {
            auto started = flowcontrol::start_feed(**api, gate);
            if (started) {
                flow_feed = std::move(*started);
            } else {
                done = started.error().with_context("flow control");
            }
        }
        if (done) {
            (*api)->on_custom_kinds([&api_server](std::vector<codec::PublishedKind> kinds) {
                api_server.set_custom_kinds(std::move(kinds));
            });
            done = start_proxy(certificates, **api, proxy_relay, &proxy);
        }
        if (done) done = start_aggregator(certificates, **api, api_server, &aggregator);
        if (done) {
            api_server.set_pod_proxy(proxy.get());
            api_server.set_aggregator(aggregator.get());
            secrets.store(api->get(), std::memory_order_release);
            token_reader = [raw = api->get()](const auto& kind, const auto& name_space, const auto& name) {
                return raw->read(kind, name_space, name);
            };
            token_authority->set_reader(&token_reader);
            api_server.set_api(api->get());
            ServeOptions signing = options;
            if (signing.controllers) signing.controllers->sign_token = secret_signer(*token_authority);
            auto started = start_components(signing, certificates.components, url,
                                            "https://" + advertised.to_string(),
                                            store->shared() ? api->get() : nullptr);
            if (started) {
                components = std::move(*started);
            } else {
                done = started.error();
            }
        }
        if (done) {
            fmt::print(stderr, "sluice-control is ready at {}, kubeconfig {}\n", url, admin_path);
            std::fflush(stderr);
            int signal = 0;
            sigwait(&signals, &signal);
            log::info(kComponent, "signal {}: shutting down", signal);
            // A second signal ends the process at once.
            pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
        }
        components.reset();
        api_server.begin_shutdown();
        feed.reset();
        flow_feed.reset();
        webhooks.stop();
        if (aggregator != nullptr) aggregator->stop();
        policies.stop();
        (*api)->shutdown();
    }
    // Requests in flight finish, then what they use goes, the store last of all.
    server->shutdown(kShutdownGraceMs);
    gate.stop();
    if (token_authority) token_authority->set_reader(nullptr);
    if (api) api->reset();
    snapshots.reset();
    store.reset();
    if (done) log::info(kComponent, "stopped");
    return done;
}

Result<std::string> make_kubeconfig(const std::string& data_dir, const std::string& server,
                                    const std::string& user,
                                    const std::vector<std::string>& groups) {
    const auto check = [](const std::string& name, const char* flag) -> Result<void> {
        const bool control = std::any_of(name.begin(), name.end(), [](char c) {
            return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
        });
        if (name.empty() || name.size() > kMaxNameBytes || control) {
            return make_error(Code::kInvalidArgument,
                              "{} needs 1 to {} bytes without control characters", flag,
                              kMaxNameBytes);
        }
        return {};
    };
    SLUICE_TRY(check(user, "--user"));
    SLUICE_TRY(check(server, "--server"));
    for (const auto& group : groups) SLUICE_TRY(check(group, "--group"));
    std::error_code error;
    if (!std::filesystem::exists(pki_path(data_dir) + "/ca.crt", error)) {
        return make_error(Code::kFailedPrecondition,
                          "{} has no certificate authority; start sluice-control --data-dir {} first",
                          pki_path(data_dir), data_dir);
    }
    SLUICE_TRY_ASSIGN(auto directory,
                      pki::Directory::open(pki_path(data_dir), std::time(nullptr)));
    SLUICE_TRY_ASSIGN(auto client, directory.issue_client(user, groups));
    return pki::kubeconfig_text({server, directory.ca_pem(), user, std::move(client)});
}

}  // namespace sluice::control
