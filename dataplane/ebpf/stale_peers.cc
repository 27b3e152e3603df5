#include "dataplane/ebpf/stale_peers.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "api/base/log.h"
#include "dataplane/ebpf/grace.h"
#include "dataplane/sockets/sockets.h"

namespace sluice::dataplane {
namespace {

// Looks for sockets that are in the table and were found nowhere: a connect() that the hook has answered may not have
// reached the socket yet. TCP sockets are never found.
constexpr int kLooks = 3;
constexpr std::chrono::milliseconds kBetweenLooks{50};

IpAddress any_of(const IpAddress& address) {
    return address.is_v4() ? IpAddress::from_v4_be(0) : IpAddress{};
}

PeerAddress read(const sluice_endpoint& at) {
    PeerAddress out;
    std::memcpy(out.address.bytes.data(), &at.address, sizeof(at.address));
    out.port = ntohs(at.port_be);
    return out;
}

// Calls each(cookie, peer) for every socket in the table, which programs go on writing.
template <class Each>
Result<void> for_each_peer(int map, Each each) {
    constexpr std::uint32_t kBatch = 256;
    bpf_map_info info{};
    std::uint32_t length = sizeof(info);
    if (bpf_obj_get_info_by_fd(map, &info, &length) != 0 ||
        info.value_size != sizeof(sluice_peer_bucket)) {
        return make_error(Code::kFailedPrecondition, "the table of peers cannot be read");
    }
    std::vector<sluice_peer_bucket> buckets(kBatch);
    std::vector<std::uint32_t> keys(kBatch);
    std::uint32_t place = 0;
    for (std::uint32_t done = 0; done < info.max_entries;) {
        std::uint32_t count = kBatch;
        LIBBPF_OPTS(bpf_map_batch_opts, options);
        const int error = bpf_map_lookup_batch(map, done == 0 ? nullptr : &place, &place,
                                               keys.data(), buckets.data(), &count, &options);
        if (error != 0 && error != -ENOENT) {
            return errno_error(-error, "cannot read the table of peers");
        }
        for (std::uint32_t i = 0; i < count; ++i) {
            for (int slot = 0; slot < SLUICE_PEER_SLOTS; ++slot) {
                if (buckets[i].cookie[slot] != 0 && buckets[i].peer[slot].service.port_be != 0) {
                    each(buckets[i].cookie[slot], buckets[i].peer[slot]);
                }
            }
        }
        done += count;
        if (error == -ENOENT || count == 0) {
            break;
        }
    }
    return {};
}

}  // namespace

StalePeers::StalePeers() : thread_([this] { run(); }) {}

StalePeers::~StalePeers() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

void StalePeers::watch(int peers) {
    Fd own(peers >= 0 ? fcntl(peers, F_DUPFD_CLOEXEC, 0) : -1);
    const std::lock_guard lock(mutex_);
    peers_ = std::move(own);
}

void StalePeers::gone(const std::vector<image::Frontend>& frontends,
                      const std::vector<PeerAddress>& backends) {
    if (backends.empty()) {
        return;
    }
    {
        const std::lock_guard lock(mutex_);
        if (!peers_) {
            return;
        }
        if (waiting_.backends + backends.size() > kMaxGoneBackends) {
            counters_.missed += backends.size();
            return;
        }
        waiting_.backends += backends.size();
        if (waiting_.gone.empty() && ripe_.gone.empty()) {
            due_ = std::chrono::steady_clock::now() + kAnswerGrace;
        }
        for (const image::Frontend& frontend : frontends) {
            waiting_.gone[place_of(frontend, backends.front().address)].insert(backends.begin(), backends.end());
        }
    }
    changed_.notify_all();
}

PeerAddress StalePeers::place_of(const image::Frontend& frontend, const IpAddress& backend) {
    const bool nodeport = frontend.scope == image::Scope::kNodePort;
    return {nodeport ? any_of(backend) : frontend.address, frontend.port};
}

void StalePeers::serves(const std::vector<image::Frontend>& frontends,
                        const std::vector<PeerAddress>& backends) {
    const std::lock_guard lock(mutex_);
    if (backends.empty()) {
        return;
    }
    for (Work* work : {&waiting_, &ripe_}) {
        for (const image::Frontend& frontend : frontends) {
            const auto found = work->gone.find(place_of(frontend, backends.front().address));
            for (std::size_t i = 0; found != work->gone.end() && i < backends.size(); ++i) {
                found->second.erase(backends[i]);
            }
        }
    }
}

void StalePeers::only(const std::vector<const image::Service*>& services) {
    auto serving = std::make_unique<ByFrontend>();
    for (const image::Service* service : services) {
        Backends backends;
        for (const image::BackendSet* set :
             {&service->internal, &service->external, &service->inside}) {
            for (const image::Backend& backend : set->backends) {
                backends.insert({backend.address, backend.port});
            }
        }
        for (const image::Frontend& frontend : service->frontends) {
            const bool nodeport = frontend.scope == image::Scope::kNodePort;
            const bool v4 = service->key.family == IpFamily::kIpv4;
            const IpAddress at =
                !nodeport ? frontend.address : (v4 ? IpAddress::from_v4_be(0) : IpAddress{});
            (*serving)[{at, frontend.port}].insert(backends.begin(), backends.end());
        }
    }
    {
        const std::lock_guard lock(mutex_);
        if (!peers_) {
            return;
        }
        waiting_.serving = std::move(serving);
    }
    changed_.notify_all();
}

StaleSockets StalePeers::counters() const {
    const std::lock_guard lock(mutex_);
    return counters_;
}

void StalePeers::settle() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !busy_ && waiting_.gone.empty() && ripe_.gone.empty() && !waiting_.serving; });
}

void StalePeers::run() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        if (waiting_.gone.empty() && ripe_.gone.empty() && !waiting_.serving) {
            changed_.wait(lock);
            continue;
        }
        if (!waiting_.serving && std::chrono::steady_clock::now() < due_) {
            changed_.wait_until(lock, due_);
            continue;
        }
        Work work = std::exchange(ripe_, std::exchange(waiting_, Work{}));
        // A start knows who serves, and waits for nobody.
        work.serving = std::move(ripe_.serving);
        due_ = std::chrono::steady_clock::now() + kAnswerGrace;
        const Fd peers(fcntl(peers_.get(), F_DUPFD_CLOEXEC, 0));
        busy_ = true;
        lock.unlock();
        look(work, peers.get());
        lock.lock();
        busy_ = false;
        changed_.notify_all();
    }
}

void StalePeers::look(const Work& work, int peers) {
    const auto is_stale = [&](const PeerAddress& service, const PeerAddress& backend) {
        const auto listed = [&](const ByFrontend& in) {
            for (const IpAddress& at : {service.address, any_of(service.address)}) {
                const auto found = in.find({at, service.port});
                if (found != in.end() && found->second.contains(backend)) {
                    return true;
                }
            }
            return false;
        };
        return listed(work.gone) || (work.serving && !listed(*work.serving));
    };
    // A hook that had already chosen when the backend left writes its choice down within a grace period.
    auto outcome = wait_for_grace_period();
    std::size_t still = 0;
    for (int round = 0; round < kLooks && outcome; ++round) {
        std::vector<sockets::Target> targets;
        outcome = for_each_peer(peers, [&](std::uint64_t cookie, const sluice_peer& peer) {
            const PeerAddress backend = read(peer.backend);
            if (is_stale(read(peer.service), backend)) {
                targets.push_back({cookie, backend.address, backend.port});
            }
        });
        if (targets.empty()) {
            break;
        }
        const sockets::Outcome done = sockets::destroy_connected_udp(targets);
        {
            const std::lock_guard lock(mutex_);
            counters_.destroyed += done.destroyed;
            counters_.errors += done.errors;
            if (!done.last_error.empty()) {
                counters_.last_error = done.last_error;
            }
            if (stopping_) {
                return;
            }
        }
        // At a start those of TCP are among them.
        still = work.serving ? 0 : done.missing;
        if (done.missing == 0) {
            break;
        }
        std::this_thread::sleep_for(kBetweenLooks);
    }
    const std::lock_guard lock(mutex_);
    counters_.missing += still;
    if (!outcome) {
        ++counters_.errors;
        counters_.last_error = outcome.error().to_string();
        log::warn("ebpf", "sockets of removed UDP backends were not looked for: {}",
                  counters_.last_error);
    }
}

}  // namespace sluice::dataplane
