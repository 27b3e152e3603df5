#include "control/apiserver/flowcontrol/defaults.h"

#include <array>
#include <initializer_list>
#include <utility>

namespace sluice::flowcontrol {
namespace {

using Names = std::vector<std::string>;
using Distinguisher = FlowSchema::Distinguisher;

constexpr const char* kControllerManager = "system:kube-controller-manager";
constexpr const char* kScheduler = "system:kube-scheduler";

// A fixed UID for an object that nobody stored: the name's FNV-1a hash in the form of a name-based UUID.
std::string uid_of(const std::string& kind, const std::string& name) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string out;
    std::uint64_t hash = 0xcbf29ce484222325U;
    const std::string text = kind + "/" + name;
    for (int half = 0; half < 2; ++half) {
        for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
        for (unsigned shift = 0; shift < 64; shift += 4) out += kDigits[(hash >> shift) & 15U];
    }
    out[12] = '5';
    out[16] = 'a';
    for (const std::size_t at : {8U, 13U, 18U, 23U}) out.insert(at, "-");
    return out;
}

PriorityLevel limited(const char* name, std::uint32_t shares, std::uint32_t lendable,
                      std::uint32_t queues, std::uint32_t hand_size) {
    PriorityLevel level;
    level.name = name;
    level.uid = uid_of("PriorityLevelConfiguration", name);
    level.nominal_shares = shares;
    level.lendable_percent = lendable;
    level.queues_requests = queues > 0;
    if (queues > 0) {
        level.queues = queues;
        level.hand_size = hand_size;
    }
    return level;
}

Subject user(const char* name) { return {Subject::Kind::kUser, name, {}}; }
Subject group(const char* name) { return {Subject::Kind::kGroup, name, {}}; }
Subject system_account(const char* name) {
    return {Subject::Kind::kServiceAccount, name, "kube-system"};
}

const Names kAll = {"*"};
const Names kElectionVerbs = {"get", "create", "update"};

Rules everything(std::vector<Subject> subjects) {
    Rules rules;
    rules.subjects = std::move(subjects);
    rules.resource_rules.push_back({kAll, kAll, kAll, true, kAll});
    rules.non_resource_rules.push_back({kAll, kAll});
    return rules;
}

Rules resources(std::vector<Subject> subjects, std::vector<ResourceRule> resource_rules) {
    Rules rules;
    rules.subjects = std::move(subjects);
    rules.resource_rules = std::move(resource_rules);
    return rules;
}

FlowSchema schema(const char* name, const char* level, std::int32_t precedence,
                  Distinguisher distinguisher, Rules rules) {
    FlowSchema out;
    out.name = name;
    out.uid = uid_of("FlowSchema", name);
    out.level = level;
    out.precedence = precedence;
    out.distinguisher = distinguisher;
    out.rules.push_back(std::move(rules));
    return out;
}

}  // namespace

Configuration defaults() {
    Configuration out;
    PriorityLevel exempt = limited("exempt", 0, 0, 0, 0);
    exempt.exempt = true;
    out.levels = {
        exempt,
        limited("catch-all", 5, 0, 0, 0),
        limited("system", 30, 33, 64, 6),
        limited("node-high", 40, 25, 64, 6),
        limited("leader-election", 10, 0, 16, 4),
        limited("workload-high", 40, 50, 128, 6),
        limited("workload-low", 100, 90, 128, 6),
        limited("global-default", 20, 50, 128, 6),
    };
    const std::vector<Subject> everybody = {group("system:unauthenticated"),
                                            group("system:authenticated")};
    Rules probes;
    probes.subjects = everybody;
    probes.non_resource_rules.push_back({{"get"}, {"/healthz", "/readyz", "/livez"}});
    const ResourceRule leases = {kElectionVerbs, {"coordination.k8s.io"}, {"leases"}, false, kAll};
    const Distinguisher by_user = Distinguisher::kByUser;
    const Distinguisher by_namespace = Distinguisher::kByNamespace;
    out.schemas = {
        schema("exempt", "exempt", 1, Distinguisher::kNone, everything({group("system:masters")})),
        schema("probes", "exempt", 2, Distinguisher::kNone, std::move(probes)),
        schema("system-leader-election", "leader-election", 100, by_user,
               resources({user(kControllerManager), user(kScheduler), system_account("*")},
                         {leases})),
        schema("endpoint-controller", "workload-high", 150, by_user,
               resources({user(kControllerManager), system_account("endpoint-controller"),
                          system_account("endpointslicemirroring-controller")},
                         {{kElectionVerbs, {""}, {"endpoints"}, false, kAll}})),
        schema("workload-leader-election", "leader-election", 200, by_user,
               resources({system_account("*")}, {leases})),
        schema("system-node-high", "node-high", 400, by_user,
               resources({group("system:nodes")},
                         {{kAll, {""}, {"nodes", "nodes/status"}, true, kAll},
                          {kAll, {"coordination.k8s.io"}, {"leases"}, false, kAll}})),
        schema("system-nodes", "system", 500, by_user, everything({group("system:nodes")})),
        schema("kube-controller-manager", "workload-high", 800, by_namespace,
               everything({user(kControllerManager)})),
        schema("kube-scheduler", "workload-high", 800, by_namespace,
               everything({user(kScheduler)})),
        schema("kube-system-service-accounts", "workload-high", 900, by_namespace,
               everything({system_account("*")})),
        schema("service-accounts", "workload-low", 9'000, by_user,
               everything({group("system:serviceaccounts")})),
        schema("global-default", "global-default", 9'900, by_user, everything(everybody)),
        schema("catch-all", "catch-all", 10'000, by_user, everything(everybody)),
    };
    return out;
}

}  // namespace sluice::flowcontrol
