// Keeps a consumer in step with one kind of object: lists it, then watches it, for ever and through every failure of
// the API server. The consumer gets batches of changes and never hears of retries.
//
// How it behaves towards the server (SERVICE-SEMANTICS, "Objects in"): the first list is at version "0", which any
// server answers from memory; then a watch from the list's version with bookmarks, ended by the server after a random
// 5 to 10 minutes. A watch that ends goes on from the last version seen. 410 leads to a list at the last
// version seen, and if that is refused too, to one at "" (the newest). Failures wait 0.8 s, doubled up to 30 s, each
// with jitter; an hour-long outage costs the server two requests a minute per watcher. With streaming lists
// the initial list is itself a watch (sendInitialEvents); a server that does not know it gets plain lists.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "api/client/client.h"
#include "api/codec/scheme.h"

namespace sluice::client {

inline constexpr std::uint32_t kMinWatchSeconds = 300;
inline constexpr std::uint32_t kMaxWatchSeconds = 600;
inline constexpr std::uint32_t kMinBackoffMs = 800;
inline constexpr std::uint32_t kMaxBackoffMs = 30'000;
// Silence among the initial events of a streaming list, after which a plain list is tried: an old server
// sends the objects but never the mark that ends them.
inline constexpr std::uint32_t kInitialEventsTimeoutMs = 5'000;
// A watch that ran this long counts as a success: the backoff starts again.
inline constexpr std::uint32_t kBackoffResetMs = 120'000;
inline constexpr std::uint32_t kListPage = 500;  // of a list that cannot be had at once
// Objects of one kind that one reflector follows.
inline constexpr std::size_t kMaxObjects = 2'000'000;
// Events that are handed over at once; more wait in the connection.
inline constexpr std::size_t kMaxBatch = 10'000;

// Objects of a list that are handed over at once, while the rest of it is read.
inline constexpr std::size_t kFillPart = 2'000;

struct Delta {
    std::string key;  // "namespace/name", or "name" for kinds without namespaces
    std::shared_ptr<const google::protobuf::Message> object;  // null: the object is gone
};

struct Batch {
    const codec::KindInfo* kind = nullptr;
    // True for the batch that completes the first list, whose objects may have come in several: from here on the
    // consumer knows all objects. Always sent once, if need be empty.
    bool synced = false;
    // The server does not serve the kind (404); sent once in place of synced. It is asked again, slowly.
    bool not_served = false;
    std::vector<Delta> deltas;  // each key at most once
    std::chrono::steady_clock::time_point received;  // when the last of it had been read
};

// Takes a batch; called on the reflector's thread, may block. False ends the reflector.
using Sink = std::function<bool(Batch batch)>;

// Time and chance, so that tests have neither.
struct ReflectorEnvironment {
    // Waits; false when stopped meanwhile.
    std::function<bool(std::uint32_t wait_ms, const std::stop_token& stop)> sleep;
    std::function<std::uint32_t(std::uint32_t low, std::uint32_t high)> random;  // both ends included
    std::function<std::uint64_t()> now_ms;                                       // steady
    static ReflectorEnvironment real();
};

struct ReflectorOptions {
    Selection selection;
    bool streaming_list = true;
    // How often a kind that is not served is asked for again.
    std::uint32_t not_served_retry_ms = 60'000;
};

// Runs until stopped or the sink refuses; the caller gives it a thread. client and kind outlive the call.
void run_reflector(Client& client, const codec::KindInfo& kind, const ReflectorOptions& options,
                   const ReflectorEnvironment& environment, const Sink& sink,
                   const std::stop_token& stop);

}  // namespace sluice::client
