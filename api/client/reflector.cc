// See reflector.h.
#include "api/client/reflector.h"

#include <fmt/format.h>
#include <google/protobuf/message.h>
#include <xxhash.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <random>
#include <unordered_map>
#include <utility>

#include "api/base/log.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::client {
namespace {

namespace meta = codec::metav1;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Bytes must come within this, or the connection is taken for dead. Bookmarks come about once a minute, and
// the server ends every watch after its time.
constexpr std::uint32_t kWatchSlackMs = 30'000;

std::string key_of(const meta::ObjectMeta& metadata) {
    return metadata.namespace_().empty() ? metadata.name()
                                         : metadata.namespace_() + "/" + metadata.name();
}

// The repeated field "items" of a list message.
const FieldDescriptor* items_field(const Message& list) {
    const FieldDescriptor* field = list.GetDescriptor()->FindFieldByName("items");
    SLUICE_ASSERT(field != nullptr && field->is_repeated());
    return field;
}

// What is remembered of an object: enough to see that it changed, or that it is another of the same name. A digest of
// uid and resourceVersion, for of all that is held for each object these two were the most. XXH3, 96 bits: that a
// changed object looks like the old one has a chance of 2^-96.
struct Known {
    std::uint64_t low = 0;
    std::uint32_t high = 0;
    std::uint32_t fill = 0;  // the last that it was part of, or came after
    [[nodiscard]] bool same(const Known& other) const { return low == other.low && high == other.high; }
};

Known known_of(const meta::ObjectMeta& metadata, std::uint32_t fill) {
    // The first part behind its length, so that no two pairs are written alike.
    const std::string text =
        fmt::format("{} {}{}", metadata.uid().size(), metadata.uid(), metadata.resourceversion());
    const XXH128_hash_t digest = XXH3_128bits(text.data(), text.size());
    return {digest.low64, static_cast<std::uint32_t>(digest.high64), fill};
}

// Changes that are handed over together, each key once.
class Part {
public:
    explicit Part(const codec::KindInfo& kind) : kind_(kind) { batch_.kind = &kind; }

    void set(std::string key, std::shared_ptr<const Message> object) {
        const auto [place, is_new] = places_.emplace(key, batch_.deltas.size());
        Delta delta{std::move(key), std::move(object)};
        if (is_new) {
            batch_.deltas.push_back(std::move(delta));
        } else {
            batch_.deltas[place->second] = std::move(delta);
        }
    }
    [[nodiscard]] std::size_t size() const { return batch_.deltas.size(); }
    // What was set since the last call.
    Batch take() {
        places_.clear();
        Batch out = std::exchange(batch_, {});
        batch_.kind = &kind_;
        return out;
    }

private:
    const codec::KindInfo& kind_;
    Batch batch_;
    std::unordered_map<std::string, std::size_t> places_;
};

class Reflector {
public:
    Reflector(Client& client, const codec::KindInfo& kind, const ReflectorOptions& options,
              const ReflectorEnvironment& environment, const Sink& sink, const std::stop_token& stop)
        : client_(client), kind_(kind), options_(options), environment_(environment), sink_(sink),
          stop_(stop), streaming_(options.streaming_list) {}

    void run() {
        while (!stop_.stop_requested() && !refused_) {
            const auto listed = fill();
            if (!listed) {
                if (stop_.stop_requested()) return;
                if (!recover(listed.error(), "list")) return;
                continue;
            }
            if (refused_ || !watch_until_lost()) return;
        }
    }

private:
    // Brings the consumer to some complete state: streaming where possible, else by lists.
    ApiResult<void> fill() {
        if (streaming_) {
            auto streamed = list_by_watch();
            if (streamed) return streamed;
            // 400 and 422: a server that does not know the parameters. An older one ignores them and sends no end
            // of the initial events, which list_by_watch reports as kUnimplemented.
            const ApiError& error = streamed.error();
            const bool unknown = error.code == Code::kInvalidArgument ||
                                 error.code == Code::kUnimplemented;
            if (!unknown) return streamed;
            log::debug("reflector", "{}: no streaming lists here ({}), using plain ones",
                       kind_.resource, error.message);
            streaming_ = false;
        }
        return list();
    }

    ApiResult<void> list() {
        ListRequest request;
        request.selection = options_.selection;
        request.resource_version = first_version();
        auto page = client_.list(kind_, request, stop_);
        if (!page && (page.error().expired() || page.error().version_too_large)) {
            newest_ = true;
            request.resource_version.clear();
            page = client_.list(kind_, request, stop_);
        }
        begin_fill();
        std::string version;
        while (true) {
            if (!page) {
                // Too large an answer for one piece: ask for pages of the newest version.
                if (request.limit == 0 && page.error().code == Code::kResourceExhausted &&
                    page.error().http_status == 0) {
                    request.resource_version.clear();
                    request.limit = kListPage;
                    page = client_.list(kind_, request, stop_);
                    continue;
                }
                return tl::unexpected(page.error());
            }
            version = codec::list_meta(**page).resourceversion();
            const std::string token = codec::list_meta(**page).continue_();
            if (auto filled = fill_with(std::move(*page)); !filled) return filled;
            if (refused_) return {};
            if (token.empty()) break;
            request.limit = kListPage;
            request.continue_token = token;
            page = client_.list(kind_, request, stop_);
        }
        version_ = version;
        newest_ = false;
        end_fill();
        return {};
    }

    ApiResult<void> fill_with(Object page) {
        const FieldDescriptor* items = items_field(*page);
        const auto* reflection = page->GetReflection();
        const int count = reflection->FieldSize(*page, items);
        std::vector<Object> taken(static_cast<std::size_t>(count));
        for (int i = count; i-- > 0;) {
            taken[static_cast<std::size_t>(i)].reset(reflection->ReleaseLast(page.get(), items));
        }
        for (Object& object : taken) {
            if (auto filled = fill_with_object(std::move(object)); !filled) return filled;
        }
        return {};
    }

    ApiResult<void> list_by_watch() {
        WatchRequest request;
        request.selection = options_.selection;
        request.resource_version = newest_ ? "" : version_;
        request.timeout_s = random_watch_seconds();
        request.send_initial_events = true;
        SLUICE_ASSERT(!pending_);
        auto stream = client_.watch(kind_, request, stop_);
        if (!stream) return tl::unexpected(stream.error());
        begin_fill();
        while (!refused_) {
            auto event = (*stream)->next(kInitialEventsTimeoutMs);
            if (!event) {
                ApiError error = event.error();
                // Silence or a plain end where the end mark should have come.
                if (error.code == Code::kDeadlineExceeded || error.reason == "EndOfStream") {
                    error.code = Code::kUnimplemented;
                }
                return tl::unexpected(std::move(error));
            }
            const meta::ObjectMeta& metadata = codec::object_meta(std::as_const(*event->object));
            if (event->type == WatchEvent::Type::kBookmark) {
                const auto mark = metadata.annotations().find(kInitialEventsEnd);
                if (mark == metadata.annotations().end() || mark->second != "true") {
                    // Bookmarks come before the end only from servers that ignored the parameter.
                    return tl::unexpected(ApiError(
                        make_error(Code::kUnimplemented, "bookmark before the end of initial events")));
                }
                version_ = metadata.resourceversion();
                newest_ = false;
                break;
            }
            if (event->type == WatchEvent::Type::kDeleted) {
                const std::string key = key_of(metadata);
                if (known_.erase(key) > 0) part_.set(key, nullptr);
            } else if (auto filled = fill_with_object(std::move(event->object)); !filled) {
                return filled;
            }
        }
        if (refused_) return {};
        pending_ = std::move(*stream);
        watch_started_ms_ = environment_.now_ms();
        watch_seconds_ = request.timeout_s;
        end_fill();
        return {};
    }

    // A complete state is handed over in parts while it is read, so that a large one is never whole in memory: first
    // what is new or has changed, at the end what is gone. One that breaks off leaves what it handed over, which is
    // true by itself, and the next goes on from there.
    void begin_fill() {
        ++fill_;
        filled_ = 0;
    }

    ApiResult<void> fill_with_object(Object object) {
        if (++filled_ > kMaxObjects) return tl::unexpected(too_many());
        const meta::ObjectMeta& metadata = codec::object_meta(std::as_const(*object));
        std::string key = key_of(metadata);
        const Known known = known_of(metadata, fill_);
        const auto [before, is_new] = known_.try_emplace(key, known);
        const bool same = !is_new && before->second.same(known) && !metadata.resourceversion().empty();
        before->second = known;
        if (!same) part_.set(std::move(key), std::move(object));
        if (part_.size() >= kFillPart) deliver(part_.take());
        return {};
    }

    void end_fill() {
        for (auto one = known_.begin(); one != known_.end();) {
            if (one->second.fill == fill_) {
                ++one;
                continue;
            }
            part_.set(one->first, nullptr);
            one = known_.erase(one);
        }
        Batch batch = part_.take();
        batch.synced = !std::exchange(synced_, true);
        if (batch.synced || !batch.deltas.empty()) deliver(std::move(batch));
    }

    void deliver(Batch batch) {
        batch.received = std::chrono::steady_clock::now();
        if (!sink_(std::move(batch))) refused_ = true;
    }

    // Watches from version_ until a new list is needed (true) or the end (false).
    bool watch_until_lost() {
        while (!stop_.stop_requested() && !refused_) {
            if (!pending_) {
                WatchRequest request;
                request.selection = options_.selection;
                request.resource_version = version_;
                request.timeout_s = watch_seconds_ = random_watch_seconds();
                watch_started_ms_ = environment_.now_ms();
                auto stream = client_.watch(kind_, request, stop_);
                if (!stream) {
                    if (stop_.stop_requested()) return false;
                    if (stream.error().expired() || stream.error().version_too_large) return lost(stream.error());
                    if (!recover(stream.error(), "watch")) return false;
                    if (stream.error().not_found()) return true;
                    continue;
                }
                pending_ = std::move(*stream);
            }
            const std::string before = version_;
            const ApiError end = follow(*pending_);
            pending_.reset();
            if (stop_.stop_requested() || refused_) return false;
            if (end.expired()) return lost(end);
            const std::uint64_t ran_ms = environment_.now_ms() - watch_started_ms_;
            const bool progress = version_ != before || ran_ms >= 1000;
            if (end.reason == "EndOfStream" && progress) {
                backoff_ms_ = 0;
                continue;
            }
            if (ran_ms >= kBackoffResetMs) backoff_ms_ = 0;
            if (!recover(end, "watch")) return false;
            // Frames that cannot be read may hide changes: only a list tells what is true.
            if (end.code == Code::kDataLoss || end.code == Code::kResourceExhausted) return true;
        }
        return false;
    }

    bool lost(const ApiError& error) {
        log::info("reflector", "{}: version {} is gone ({}), listing again", kind_.resource, version_,
                  error.message);
        // The second time in a row the last version is no better; see first_version().
        newest_ = relisted_at_ == version_;
        relisted_at_ = version_;
        return !newest_ || recover(error, "watch");
    }

    // Delivers events until the stream ends; returns why.
    ApiError follow(WatchStream& stream) {
        const std::uint64_t limit_ms = std::uint64_t{watch_seconds_} * 1000 + kWatchSlackMs;
        while (true) {
            const std::uint64_t ran_ms = environment_.now_ms() - watch_started_ms_;
            const std::uint64_t left_ms = ran_ms < limit_ms ? limit_ms - ran_ms : 1;
            auto event = stream.next(static_cast<std::uint32_t>(left_ms));
            if (!event) return event.error();
            ApiError end;
            bool ended = false;
            // Whatever has arrived goes into one batch; the consumer compiles once for all of it.
            while (true) {
                if (auto added = add(std::move(*event)); !added) {
                    end = added.error();
                    ended = true;
                    break;
                }
                if (part_.size() >= kMaxBatch) break;
                const auto ready = stream.ready();
                if (ready && !*ready) break;
                event = stream.next(1);
                if (!event) {
                    end = event.error();
                    ended = true;
                    break;
                }
            }
            if (part_.size() > 0) {
                backoff_ms_ = 0;
                deliver(part_.take());
            }
            if (refused_) return Error{Code::kCancelled, "the consumer has gone", 0};
            if (ended) return end;
        }
    }

    ApiResult<void> add(WatchEvent event) {
        const meta::ObjectMeta& metadata = codec::object_meta(std::as_const(*event.object));
        if (!metadata.resourceversion().empty()) version_ = metadata.resourceversion();
        if (event.type == WatchEvent::Type::kBookmark) return {};
        if (metadata.name().empty()) {
            return tl::unexpected(
                ApiError(make_error(Code::kDataLoss, "watch event with an object without a name")));
        }
        std::string key = key_of(metadata);
        if (event.type == WatchEvent::Type::kDeleted) {
            if (known_.erase(key) > 0) part_.set(std::move(key), nullptr);
            return {};
        }
        if (known_.size() >= kMaxObjects && !known_.contains(key)) return tl::unexpected(too_many());
        known_.insert_or_assign(key, known_of(metadata, fill_));
        part_.set(std::move(key), std::move(event.object));
        return {};
    }

    // Waits as the error asks. False when stopped or refused.
    bool recover(const ApiError& error, std::string_view what) {
        if (error.not_found()) {
            if (!synced_ && !told_not_served_) {
                told_not_served_ = true;
                Batch batch;
                batch.kind = &kind_;
                batch.not_served = true;
                deliver(std::move(batch));
            }
            return !refused_ && environment_.sleep(options_.not_served_retry_ms, stop_);
        }
        backoff_ms_ = backoff_ms_ == 0 ? kMinBackoffMs : std::min(backoff_ms_ * 2, kMaxBackoffMs);
        // Up to the same again, within the ceiling, so that a fleet of nodes does not come back as one.
        const std::uint32_t ceiling = std::min(backoff_ms_ * 2, kMaxBackoffMs);
        std::uint32_t wait_ms = environment_.random(backoff_ms_, std::max(ceiling, backoff_ms_));
        if (error.retry_after_s) {
            const std::uint32_t asked_s = std::min(*error.retry_after_s, kMaxBackoffMs / 1000);
            wait_ms = std::max(wait_ms, asked_s * 1000);
        }
        log::warn("reflector", "{} of {} at {} failed: {}; again in {} ms", what, kind_.resource,
                  client_.server(), error.message, wait_ms);
        return environment_.sleep(wait_ms, stop_);
    }

    [[nodiscard]] std::string first_version() const {
        if (newest_) return "";
        return version_.empty() ? "0" : version_;
    }
    [[nodiscard]] std::uint32_t random_watch_seconds() const {
        return environment_.random(kMinWatchSeconds, kMaxWatchSeconds);
    }
    [[nodiscard]] ApiError too_many() const {
        return make_error(Code::kResourceExhausted, "more than {} {}", kMaxObjects, kind_.resource);
    }

    Client& client_;
    const codec::KindInfo& kind_;
    const ReflectorOptions& options_;
    const ReflectorEnvironment& environment_;
    const Sink& sink_;
    const std::stop_token& stop_;

    std::unordered_map<std::string, Known> known_;
    std::uint32_t fill_ = 0;   // of how many known_ is, the one under way included
    std::size_t filled_ = 0;   // objects of it
    Part part_{kind_};         // what the consumer is to be given next
    std::string version_;      // last seen; empty before the first list
    std::string relisted_at_;  // version_ at the last 410
    bool newest_ = false;      // the next list asks for "" instead of version_
    bool synced_ = false;
    bool told_not_served_ = false;
    bool refused_ = false;
    bool streaming_;
    std::uint32_t backoff_ms_ = 0;
    std::unique_ptr<WatchStream> pending_;  // the watch under way
    std::uint64_t watch_started_ms_ = 0;
    std::uint32_t watch_seconds_ = 0;
};

}  // namespace

ReflectorEnvironment ReflectorEnvironment::real() {
    ReflectorEnvironment environment;
    environment.sleep = [](std::uint32_t wait_ms, const std::stop_token& stop) {
        std::mutex mutex;
        std::condition_variable_any never;
        std::unique_lock lock(mutex);
        never.wait_for(lock, stop, std::chrono::milliseconds(wait_ms), [] { return false; });
        return !stop.stop_requested();
    };
    environment.random = [](std::uint32_t low, std::uint32_t high) {
        thread_local std::mt19937 engine{std::random_device{}()};
        return std::uniform_int_distribution<std::uint32_t>(low, high)(engine);
    };
    environment.now_ms = [] {
        const auto now = std::chrono::steady_clock::now().time_since_epoch();
        return static_cast<std::uint64_t>(
            std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
    };
    return environment;
}

void run_reflector(Client& client, const codec::KindInfo& kind, const ReflectorOptions& options,
                   const ReflectorEnvironment& environment, const Sink& sink,
                   const std::stop_token& stop) {
    Reflector(client, kind, options, environment, sink, stop).run();
}

}  // namespace sluice::client
