#include "control/apiserver/registry/allocator/claims.h"

#include <fmt/format.h>

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>

#include "api/base/log.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/meta/v1/meta.pb.h"
#include "control/apiserver/registry/rest/core.h"

namespace sluice::registry {

namespace {

constexpr std::string_view kPrefix = "/registry/ranges/";
constexpr std::string_view kComponent = "claims";
// Repairs under way at once.
constexpr std::size_t kMaxRepairs = 256;

// The Service that a claim should name.
struct Backer {
    std::string owner;
    std::string key;
    store::Revision created = 0;
    store::Revision revision = 0;
};

// What writes have come to; shared with their answers, which may come after an error was returned.
struct Progress {
    std::mutex mutex;
    std::condition_variable answered;
    std::size_t under_way = 0;
    std::uint64_t changed = 0;
    std::string failure;
};

void submit(store::Store& store, store::Write write, const std::shared_ptr<Progress>& progress) {
    {
        std::unique_lock lock(progress->mutex);
        progress->answered.wait(lock, [&] { return progress->under_way < kMaxRepairs; });
        ++progress->under_way;
    }
    store.write(std::move(write), [progress](const Result<store::WriteResult>& result) {
        const std::lock_guard lock(progress->mutex);
        --progress->under_way;
        if (!result) {
            progress->failure = result.error().message;
        } else if (!result->condition_failed) {
            // Otherwise another server was quicker, and has left things as they are to be.
            ++progress->changed;
        }
        progress->answered.notify_all();
    });
}

}  // namespace

std::string claim_key(const IpAddress& address) {
    return fmt::format("{}serviceips/{}", kPrefix, address.to_string());
}

std::string claim_key(Protocol protocol, std::int64_t port) {
    return fmt::format("{}servicenodeports/{}/{}", kPrefix, protocol_name(protocol), port);
}

std::vector<std::string> claim_keys(const ServiceAllocator::Holding& holding) {
    std::vector<std::string> out;
    for (const IpAddress& address : holding.addresses) out.push_back(claim_key(address));
    for (const auto& port : holding.ports) out.push_back(claim_key(port.protocol, port.port));
    return out;
}

std::string claim_owner(const ServiceMessage& service) {
    return service.metadata().namespace_() + "/" + service.metadata().name();
}

Result<std::uint64_t> repair_claims(Core& core) {
    const Strategy& services = core.strategies.of(*codec::find_resource("", "v1", "services"));
    const store::Revision at = core.store.revision();
    SLUICE_TRY_ASSIGN(auto stored, core.store.range(services.storage_prefix() + "/", "", 0, at));
    SLUICE_TRY_ASSIGN(auto claims, core.store.range(kPrefix, "", 0, at));
    std::map<std::string, Backer> wanted;
    for (const store::KeyValue& item : stored.items) {
        auto object = core.cache.get(services.kind(), item.mod_revision, *item.value);
        if (!object) return make_error(Code::kDataLoss, "{}: {}", item.key, object.error().message);
        const auto& service = static_cast<const ServiceMessage&>((*object)->message());
        const Backer backer{claim_owner(service), item.key, item.create_revision, item.mod_revision};
        for (const std::string& key : claim_keys(ServiceAllocator::holding_of(service))) {
            const auto [found, fresh] = wanted.try_emplace(key, backer);
            if (fresh || found->second.owner == backer.owner) continue;
            log::warn(kComponent, "services {} and {} both use {}", found->second.owner, backer.owner,
                      key.substr(kPrefix.size()));
            if (backer.created < found->second.created) found->second = backer;
        }
    }
    const auto progress = std::make_shared<Progress>();
    for (const store::KeyValue& claim : claims.items) {
        const auto found = wanted.find(claim.key);
        if (found == wanted.end()) {
            submit(core.store, {claim.key, std::nullopt, claim.mod_revision}, progress);
            continue;
        }
        const Backer& backer = found->second;
        if (*claim.value != backer.owner) {
            submit(core.store,
                   {claim.key, backer.owner, claim.mod_revision,
                    {{backer.key, std::nullopt, backer.revision, true}}},
                   progress);
        }
        wanted.erase(found);
    }
    for (const auto& [key, backer] : wanted) {
        submit(core.store, {key, backer.owner, 0, {{backer.key, std::nullopt, backer.revision, true}}}, progress);
    }
    std::unique_lock lock(progress->mutex);
    progress->answered.wait(lock, [&] { return progress->under_way == 0; });
    if (!progress->failure.empty()) {
        return make_error(Code::kUnavailable, "claims of addresses and ports cannot be repaired: {}",
                          progress->failure);
    }
    return progress->changed;
}

}  // namespace sluice::registry
