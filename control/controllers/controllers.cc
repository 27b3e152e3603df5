#include "control/controllers/controllers.h"

#include <chrono>
#include <functional>
#include <utility>

#include "api/base/log.h"
#include "api/client/event_recorder.h"
#include "control/controllers/certificates/certificates.h"
#include "control/controllers/controller.h"
#include "control/controllers/daemonset/daemonset.h"
#include "control/controllers/deployment/deployment.h"
#include "control/controllers/endpointslice/endpointslice.h"
#include "control/controllers/garbage/garbage.h"
#include "control/controllers/job/job.h"
#include "control/controllers/namespaces/namespaces.h"
#include "control/controllers/node/node.h"
#include "control/controllers/replicaset/replicaset.h"
#include "control/controllers/tokens/tokens.h"

namespace sluice::controllers {
namespace {

constexpr std::string_view kComponent = "controllers";
constexpr const char* kUserAgent = "sluice-controllers";

std::int64_t system_now_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
}

// Controllers whose events come from one component.
struct Group {
    std::unique_ptr<client::EventRecorder> events;
    std::unique_ptr<Context> context;
    std::unique_ptr<Runner> runner;  // last: no worker runs when what it uses goes
};

class Running final : public Controllers {
public:
    explicit Running(std::unique_ptr<client::Client> client)
        : client_(std::move(client)), informers_(*client_) {}
    ~Running() override {
        // Handlers of the informers belong to controllers.
        informers_.stop();
        groups_.clear();
    }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

    Result<void> start(const Options& options, const std::string& server_url);

private:
    using Made = std::vector<std::unique_ptr<Controller>>;
    // Component names are those of Kubernetes, which people look for in events.
    Result<void> add(const char* component, const std::function<Result<Made>(Context&)>& make);

    std::unique_ptr<client::Client> client_;
    InformerSet informers_;
    std::vector<std::pair<Group, Made>> waiting_;  // until the informers start
    std::vector<Group> groups_;
};

Result<void> Running::add(const char* component,
                          const std::function<Result<Made>(Context&)>& make) {
    Group group;
    group.events = client::EventRecorder::start(*client_, component);
    group.context =
        std::make_unique<Context>(Context{*client_, informers_, *group.events, system_now_ns});
    SLUICE_TRY_ASSIGN(auto made, make(*group.context));
    waiting_.emplace_back(std::move(group), std::move(made));
    return {};
}

template <class... Controllers>
std::vector<std::unique_ptr<Controller>> together(Controllers... made) {
    std::vector<std::unique_ptr<Controller>> out;
    (out.push_back(std::move(made)), ...);
    return out;
}

Result<void> Running::start(const Options& options, const std::string& server_url) {
    SLUICE_TRY(add("deployment-controller", [](Context& context) -> Result<Made> {
        return together(make_deployment_controller(context));
    }));
    SLUICE_TRY(add("replicaset-controller", [](Context& context) -> Result<Made> {
        return together(make_replica_set_controller(context));
    }));
    SLUICE_TRY(add("replication-controller", [](Context& context) -> Result<Made> {
        return together(make_replication_controller(context));
    }));
    SLUICE_TRY(add("daemonset-controller", [](Context& context) -> Result<Made> {
        return together(make_daemon_set_controller(context));
    }));
    SLUICE_TRY(add("job-controller", [](Context& context) -> Result<Made> {
        return together(make_job_controller(context));
    }));
    SLUICE_TRY(add("endpoint-slice-controller", [](Context& context) -> Result<Made> {
        return together(make_endpoint_slice_controller(context));
    }));
    SLUICE_TRY(add("endpoint-controller", [](Context& context) -> Result<Made> {
        return together(make_endpoints_controller(context),
                        make_endpoint_slice_mirroring_controller(context));
    }));
    SLUICE_TRY(add("node-controller", [&](Context& context) -> Result<Made> {
        NodeLifecycleOptions lifecycle;
        lifecycle.grace_period_ms = options.node_monitor_grace_period_ms;
        lifecycle.monitor_period_ms = options.node_monitor_period_ms;
        auto made = together(make_node_lifecycle_controller(context, lifecycle),
                             make_pod_gc_controller(context, PodGcOptions{}));
        if (!options.cluster_cidrs.empty()) {
            NodeIpamOptions ipam;
            ipam.cluster_cidrs = options.cluster_cidrs;
            ipam.mask_size_ipv4 = options.node_cidr_mask_size_ipv4;
            ipam.mask_size_ipv6 = options.node_cidr_mask_size_ipv6;
            ipam.service_cidrs = options.service_cidrs;
            SLUICE_TRY_ASSIGN(auto controller, make_node_ipam_controller(context, ipam));
            made.push_back(std::move(controller));
        }
        return made;
    }));
    SLUICE_TRY(add("taint-eviction-controller", [](Context& context) -> Result<Made> {
        return together(make_taint_eviction_controller(context));
    }));
    SLUICE_TRY(add("garbage-collector-controller", [](Context& context) -> Result<Made> {
        return together(make_garbage_collector(context));
    }));
    SLUICE_TRY(add("namespace-controller", [&](Context& context) -> Result<Made> {
        auto made = together(make_service_account_controller(context));
        if (!options.root_ca_pem.empty()) {
            made.push_back(make_root_ca_publisher(context, options.root_ca_pem));
            made.push_back(make_bootstrap_signer(context, server_url, options.root_ca_pem));
        }
        return made;
    }));
    if (options.sign_token) {
        SLUICE_TRY(add("serviceaccount-token-controller", [&](Context& context) -> Result<Made> {
            return together(make_tokens_controller(context, options.sign_token, options.root_ca_pem));
        }));
    }
    SLUICE_TRY(add("certificate-controller", [&](Context& context) -> Result<Made> {
        auto made = together(make_csr_cleaner(context));
        if (!options.signing_certificate_pem.empty()) {
            const pki::KeyPair ca{options.signing_certificate_pem, options.signing_key_pem};
            if (const auto fits = pki::check_key_pair(ca); !fits) return fits.error();
            made.push_back(make_csr_controller(context, ca));
        }
        return made;
    }));
    informers_.start();
    std::size_t count = 0;
    for (auto& [group, made] : waiting_) {
        count += made.size();
        group.runner = std::make_unique<Runner>(*group.context, std::move(made));
        groups_.push_back(std::move(group));
    }
    waiting_.clear();
    log::info(kComponent, "{} controllers are running", count);
    return {};
}

}  // namespace

Result<std::unique_ptr<Controllers>> Controllers::start(const Options& options,
                                                        const client::ClientConfig& api_server) {
    SLUICE_TRY_ASSIGN(auto client, client::Client::create(api_server, kUserAgent));
    auto running = std::make_unique<Running>(std::move(client));
    const std::string url =
        options.advertise_url.empty() ? api_server.url() : options.advertise_url;
    SLUICE_TRY(running->start(options, url));
    return std::unique_ptr<Controllers>(std::move(running));
}

}  // namespace sluice::controllers
