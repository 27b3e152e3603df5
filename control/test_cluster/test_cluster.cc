#include "control/test_cluster/test_cluster.h"

#include <fmt/core.h>
#include <google/protobuf/message.h>
#include <unistd.h>

#include <atomic>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <thread>
#include <vector>

#include "api/client/client.h"
#include "api/codec/json.h"
#include "api/codec/yaml.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/authorization/authorizer.h"
#include "control/apiserver/handler.h"
#include "control/apiserver/registry/api.h"
#include "control/http/server.h"
#include "control/http/status_body.h"
#include "control/pki/kubeconfig.h"
#include "control/pki/pki.h"
#include "control/store/store.h"

namespace sluice::testing {
namespace {

constexpr std::uint32_t kShutdownGraceMs = 2'000;
constexpr std::chrono::milliseconds kPollInterval{5};
constexpr const char* kMergePatch = "application/merge-patch+json";

[[noreturn]] void give_up(std::string_view what, const std::string& why) {
    fmt::print(stderr, "test cluster: {}: {}\n", what, why);
    std::fflush(stderr);
    std::abort();
}

template <class R>
auto must(R result, std::string_view what) {
    if (!result) give_up(what, result.error().to_string());
    return std::move(*result);
}

std::string make_directory() {
    std::string path = (std::filesystem::temp_directory_path() / "sluice-test-XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) give_up("temporary folder", path);
    return path;
}

std::vector<std::string> documents_of(std::string_view text) {
    std::vector<std::string> out(1);
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        const std::string_view line = text.substr(0, end);
        if (line == "---") {
            out.emplace_back();
        } else {
            out.back().append(line).append("\n");
        }
        if (end == std::string_view::npos) break;
        text.remove_prefix(end + 1);
    }
    std::erase_if(out, [](const std::string& document) {
        return document.find_first_not_of(" \n\t") == std::string::npos;
    });
    return out;
}

std::vector<std::string> split_groups(const std::string& groups) {
    std::vector<std::string> out;
    std::size_t begin = 0;
    while (begin < groups.size()) {
        const std::size_t end = std::min(groups.find(',', begin), groups.size());
        out.push_back(groups.substr(begin, end - begin));
        begin = end + 1;
    }
    return out;
}

// One document of YAML, with its kind; boost::json stays in this file.
struct Document {
    boost::json::value value;
    const codec::KindInfo* kind = nullptr;
    std::string namespace_name;
    std::string name;
};

Document read_document(const std::string& text) {
    Document out;
    out.value = must(codec::yaml_to_json(text), "YAML");
    auto gvk = must(codec::json_kind_of(out.value), "YAML");
    out.kind = codec::find_kind(gvk);
    if (out.kind == nullptr) give_up("unknown kind", gvk.api_version() + " " + gvk.kind);
    auto& metadata = out.value.as_object()["metadata"];
    if (!metadata.is_object()) metadata = boost::json::object{};
    auto& fields = metadata.as_object();
    if (out.kind->namespaced) {
        if (!fields.contains("namespace")) fields["namespace"] = "default";
        out.namespace_name = std::string(fields["namespace"].as_string());
    }
    if (fields.contains("name")) out.name = std::string(fields["name"].as_string());
    return out;
}

}  // namespace

struct TestCluster::Parts {
    std::string directory = make_directory();
    std::unique_ptr<store::Store> store;
    std::string ca_pem, ca_key_pem, url, kubeconfig;
    std::optional<pki::Directory> certificates;
    std::atomic<apiserver::ApiServer*> serving{nullptr};
    std::unique_ptr<http::Server> server;
    // Components are tested for what they do; what they may do is tested with the whole system.
    authorization::Authorizer authorizer{{authorization::Mode::kAlwaysAllow}};
    std::unique_ptr<apiserver::ApiServer> api_server;
    std::unique_ptr<registry::Api> api;
    client::ClientConfig config;
    std::unique_ptr<client::Client> client;
};

TestCluster::TestCluster() : parts_(std::make_unique<Parts>()) {
    Parts& p = *parts_;
    store::SqliteOptions store_options;
    store_options.path = p.directory + "/store.db";
    p.store = must(store::open_sqlite(store_options), "store");

    const std::string pki_path = p.directory + "/pki";
    p.certificates.emplace(must(pki::Directory::open(pki_path, std::time(nullptr)), "certificates"));
    p.ca_pem = p.certificates->ca_pem();
    p.ca_key_pem = must(client::read_file(pki_path + "/ca.key"), "ca.key");
    const IpAddress loopback = *IpAddress::parse("127.0.0.1");
    const auto server_pair =
        must(p.certificates->server({"localhost", "kubernetes"}, {loopback}), "server certificate");

    http::ServerOptions server_options;
    server_options.address = "127.0.0.1";
    server_options.port = 0;
    server_options.certificate_pem = server_pair.certificate_pem;
    server_options.private_key_pem = server_pair.private_key_pem;
    server_options.client_ca_pem = p.ca_pem;
    server_options.threads = 2;
    p.server = must(http::listen(server_options,
                                 [&p](std::shared_ptr<http::Request> request,
                                      std::shared_ptr<http::Responder> responder) {
                                     if (auto* handler = p.serving.load(std::memory_order_acquire)) {
                                         handler->handle(std::move(request), std::move(responder));
                                     } else {
                                         responder->send(http::status_response(
                                             503, "ServiceUnavailable", "the server is starting"));
                                     }
                                 }),
                    "listener");
    const std::uint16_t port = p.server->port();
    p.url = fmt::format("https://127.0.0.1:{}", port);

    registry::ApiOptions api_options;
    api_options.service_cidrs = {*IpPrefix::parse("10.96.0.0/16"),
                                 *IpPrefix::parse("fd00:10:96::/112")};
    api_options.advertise_address = "127.0.0.1";
    api_options.advertise_port = port;
    p.api_server = std::make_unique<apiserver::ApiServer>(
        *p.store, fmt::format("127.0.0.1:{}", port), [raw = p.server.get()] { return raw->stats(); });
    p.api_server->set_authorizer(&p.authorizer);
    p.serving.store(p.api_server.get(), std::memory_order_release);
    p.api = must(registry::make_api(*p.store, api_options), "API");
    p.api_server->set_api(p.api.get());

    const auto admin = must(
        p.certificates->client("admin", "kubernetes-admin", {"system:masters"}), "certificate");
    p.kubeconfig = p.directory + "/admin.kubeconfig";
    const auto written = pki::write_kubeconfig(p.kubeconfig, {p.url, p.ca_pem, "admin", admin});
    if (!written) give_up("kubeconfig", written.error().to_string());
    p.config = must(client::load_kubeconfig(p.kubeconfig), "kubeconfig");
    p.client = must(client::Client::create(p.config, "sluice-test"), "client");
}

TestCluster::~TestCluster() {
    Parts& p = *parts_;
    p.client.reset();
    p.api_server->begin_shutdown();
    p.api->shutdown();
    p.server->shutdown(kShutdownGraceMs);
    p.api.reset();
    p.server.reset();
    p.api_server.reset();
    p.store.reset();
    std::error_code ignored;
    std::filesystem::remove_all(p.directory, ignored);
}

client::Client& TestCluster::client() const { return *parts_->client; }
const client::ClientConfig& TestCluster::client_config() const { return parts_->config; }
const std::string& TestCluster::url() const { return parts_->url; }
const std::string& TestCluster::kubeconfig() const { return parts_->kubeconfig; }
const std::string& TestCluster::directory() const { return parts_->directory; }
const std::string& TestCluster::ca_pem() const { return parts_->ca_pem; }
const std::string& TestCluster::ca_key_pem() const { return parts_->ca_key_pem; }

client::ClientConfig TestCluster::config_for(const std::string& user,
                                             const std::string& groups) const {
    const auto pair =
        must(parts_->certificates->issue_client(user, split_groups(groups)), "certificate");
    client::ClientConfig config = parts_->config;
    config.certificate_pem = pair.certificate_pem;
    config.private_key_pem = pair.private_key_pem;
    return config;
}

std::shared_ptr<google::protobuf::Message> TestCluster::create(std::string_view text) const {
    std::shared_ptr<google::protobuf::Message> stored;
    for (const auto& yaml : documents_of(text)) {
        const Document document = read_document(yaml);
        auto object = document.kind->new_object();
        codec::FieldWarnings warnings;
        const auto decoded = codec::from_json_value(document.value, object.get(), &warnings);
        if (!decoded) give_up(yaml, decoded.error().to_string());
        if (!warnings.empty()) give_up(yaml, warnings.front());
        const auto* status = document.value.as_object().if_contains("status");
        stored = must(client().create_object(*document.kind, *object), yaml);
        if (status != nullptr && document.kind->has_status) stored = merge(yaml);
    }
    return stored;
}

std::shared_ptr<google::protobuf::Message> TestCluster::merge(std::string_view text) const {
    std::shared_ptr<google::protobuf::Message> stored;
    for (const auto& yaml : documents_of(text)) {
        Document document = read_document(yaml);
        auto& fields = document.value.as_object();
        boost::json::value status;
        if (const auto* found = fields.if_contains("status")) status = *found;
        fields.erase("status");
        stored = must(client().patch(*document.kind, document.namespace_name, document.name,
                                     kMergePatch, codec::write_json(document.value)),
                      yaml);
        if (status.is_null()) continue;
        const boost::json::value body = boost::json::object{{"status", status}};
        stored = must(client().patch(*document.kind, document.namespace_name, document.name,
                                     kMergePatch, codec::write_json(body), "status"),
                      yaml);
    }
    return stored;
}

std::shared_ptr<google::protobuf::Message> TestCluster::get(const codec::KindInfo& kind,
                                                            const std::string& namespace_name,
                                                            const std::string& name) const {
    auto found = client().get(kind, namespace_name, name);
    if (!found) {
        if (found.error().not_found()) return nullptr;
        give_up(name, found.error().to_string());
    }
    return std::move(*found);
}

const codec::KindInfo& kind_named(std::string_view resource) {
    for (const auto& kind : codec::all_kinds()) {
        if (kind.resource == resource) return kind;
    }
    give_up("unknown resource", std::string(resource));
}

bool eventually(const std::function<bool()>& condition, std::chrono::milliseconds patience) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!condition()) {
        if (std::chrono::steady_clock::now() >= end) return condition();
        std::this_thread::sleep_for(kPollInterval);
    }
    return true;
}

}  // namespace sluice::testing
