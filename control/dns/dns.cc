// See dns.h.
#include "control/dns/dns.h"

#include <algorithm>
#include <ctime>
#include <thread>

#include "api/base/log.h"
#include "api/client/client.h"
#include "api/client/queue.h"
#include "api/client/reflector.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"
#include "control/dns/server.h"
#include "control/dns/zone.h"

namespace sluice::dns {
namespace {

constexpr std::string_view kComponent = "dns";
// Changes that may wait for the thread that builds the zone; beyond them the watches are read no
// further.
constexpr std::size_t kMaxQueuedChanges = 100'000;
constexpr std::chrono::milliseconds kQueueWait{1'000};

namespace corev1 = ::k8s::io::api::core::v1;
namespace discoveryv1 = ::k8s::io::api::discovery::v1;

const codec::KindInfo& known(const char* group, const char* resource) {
    const codec::KindInfo* kind = codec::find_resource(group, "v1", resource);
    SLUICE_ASSERT(kind != nullptr);
    return *kind;
}

class RealDns final : public Dns {
public:
    RealDns(std::unique_ptr<client::Client> client, const Name& domain)
        : client_(std::move(client)), builder_(domain) {}
    ~RealDns() override {
        for (auto& thread : threads_) thread.request_stop();
        threads_.clear();
        server_.reset();
        if (started_) log::info(kComponent, "stopped");
    }

    Result<void> start(const Options& options) {
        ServerOptions server;
        server.listen = options.listen;
        server.upstreams = options.upstreams;
        server.domain = options.domain;
        server.owned = options.service_cidrs;
        SLUICE_TRY_ASSIGN(server_, Server::start(server, zone_));
        started_ = true;
        std::string upstreams;
        for (const auto& upstream : options.upstreams) {
            upstreams += (upstreams.empty() ? "" : ", ") + upstream.to_string();
        }
        for (const auto& endpoint : server_->endpoints()) {
            log::info(kComponent, "serving {} at {} (udp, tcp); upstream: {}",
                      options.domain.to_string(), endpoint.to_string(),
                      upstreams.empty() ? "none" : upstreams);
        }
        for (const codec::KindInfo* kind : {&services_, &slices_, &namespaces_}) follow(*kind);
        threads_.emplace_back([this](const std::stop_token& stop) { build(stop); });
        return {};
    }
    [[nodiscard]] const std::vector<Endpoint>& endpoints() const override {
        return server_->endpoints();
    }

private:
    void follow(const codec::KindInfo& kind) {
        threads_.emplace_back([this, &kind](const std::stop_token& stop) {
            const client::Sink sink = [&](client::Batch batch) {
                const std::size_t weight = batch.deltas.size() + 1;
                return queue_.push(std::move(batch), weight, stop);
            };
            client::run_reflector(*client_, kind, {}, client::ReflectorEnvironment::real(), sink,
                                  stop);
        });
    }

    void build(const std::stop_token& stop) {
        std::vector<const codec::KindInfo*> awaited = {&services_, &slices_, &namespaces_};
        while (!stop.stop_requested()) {
            for (const auto& batch : queue_.take(kQueueWait, stop)) {
                for (const auto& delta : batch.deltas) apply(*batch.kind, delta);
                if (!batch.synced && !batch.not_served) continue;
                if (std::erase(awaited, batch.kind) > 0 && awaited.empty()) {
                    builder_.set_complete();
                    log::info(kComponent, "all Services, EndpointSlices and Namespaces are known");
                }
            }
            const auto now = static_cast<std::uint32_t>(std::time(nullptr));
            if (auto next = builder_.publish(now)) zone_.publish(std::move(next));
        }
    }

    void apply(const codec::KindInfo& kind, const client::Delta& delta) {
        if (&kind == &services_) {
            builder_.set_service(delta.key,
                                 static_cast<const corev1::Service*>(delta.object.get()));
        } else if (&kind == &slices_) {
            builder_.set_slice(delta.key,
                               static_cast<const discoveryv1::EndpointSlice*>(delta.object.get()));
        } else {
            builder_.set_namespace(delta.key, delta.object != nullptr);
        }
    }

    const codec::KindInfo& services_ = known("", "services");
    const codec::KindInfo& slices_ = known("discovery.k8s.io", "endpointslices");
    const codec::KindInfo& namespaces_ = known("", "namespaces");
    std::unique_ptr<client::Client> client_;
    client::Queue<client::Batch> queue_{kMaxQueuedChanges};
    Builder builder_;
    Published zone_;
    std::unique_ptr<Server> server_;
    bool started_ = false;
    std::vector<std::jthread> threads_;
};

Result<std::vector<Endpoint>> find_upstreams(std::string_view flag_value,
                                             const std::vector<Endpoint>& listen,
                                             const std::string& resolv_conf) {
    if (flag_value == "none") return std::vector<Endpoint>();
    const auto local = local_addresses();
    if (!flag_value.empty()) {
        SLUICE_TRY_ASSIGN(auto named,
                          parse_endpoints("--dns-upstream", flag_value, kMaxUpstreams, kDnsPort));
        for (const auto& upstream : named) {
            if (upstream.port == 0 || upstream.address.is_unspecified()) {
                return make_error(Code::kInvalidArgument,
                                  "--dns-upstream: {} is no address that can be asked",
                                  upstream.to_string());
            }
        }
        if (without_self(named, listen, local).size() != named.size()) {
            return make_error(Code::kInvalidArgument,
                              "--dns-upstream \"{}\" names the server itself (--dns-listen)",
                              flag_value);
        }
        return named;
    }
    const auto text = client::read_file(resolv_conf);
    if (!text) {
        log::warn(kComponent, "{}; names outside of the cluster are refused", text.error().message);
        return std::vector<Endpoint>();
    }
    const auto found = parse_resolv_conf(*text);
    auto usable = without_self(found, listen, local);
    if (usable.size() != found.size()) {
        log::warn(kComponent, "{} names this server itself, which is not asked", resolv_conf);
    }
    return usable;
}

}  // namespace

Result<Options> parse_options(std::string_view listen, std::string_view domain,
                              std::string_view upstream, const std::string& resolv_conf) {
    Options options;
    SLUICE_TRY_ASSIGN(options.listen, parse_endpoints("--dns-listen", listen, kMaxListeners));
    auto name = Name::parse(domain);
    if (!name) return name.error().with_context("--cluster-domain");
    options.domain = name->lower();
    const auto labels = options.domain.labels();
    if (labels.empty() || !std::all_of(labels.begin(), labels.end(), is_plain_label)) {
        return make_error(Code::kInvalidArgument,
                          "--cluster-domain \"{}\" needs labels of letters, digits and hyphens",
                          domain);
    }
    // Room for _PORT._PROTOCOL.SERVICE.NAMESPACE.svc of the longest names that Kubernetes allows.
    constexpr std::size_t kMaxDomainBytes = 80;
    if (options.domain.wire().size() > kMaxDomainBytes) {
        return make_error(Code::kInvalidArgument, "--cluster-domain \"{}\" is longer than {} bytes",
                          domain, kMaxDomainBytes - 2);
    }
    SLUICE_TRY_ASSIGN(options.upstreams, find_upstreams(upstream, options.listen, resolv_conf));
    return options;
}

Result<std::unique_ptr<Dns>> Dns::start(const Options& options,
                                        const client::ClientConfig& api_server) {
    SLUICE_TRY_ASSIGN(
        auto client, client::Client::create(api_server, "sluice-control/" SLUICE_VERSION " (dns)"));
    auto dns = std::make_unique<RealDns>(std::move(client), options.domain);
    SLUICE_TRY(dns->start(options));
    return std::unique_ptr<Dns>(std::move(dns));
}

}  // namespace sluice::dns
