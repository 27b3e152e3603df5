// The store against a model that is plainly right: a std::map for every revision. Random
// operations, several of them submitted as one batch, with the answers, every older state, and what
// each watch saw compared.
#include <rapidcheck.h>

#include <map>
#include <set>

#include "control/store/test_util.h"

namespace sluice::store {
namespace {

using testing::Collector;
using testing::submit;
using testing::TemporaryFolder;

struct ModelValue {
    std::string value;
    Revision created = 0;
    Revision modified = 0;
    bool operator==(const ModelValue&) const = default;
};
using State = std::map<std::string, ModelValue>;

struct ModelEvent {
    std::string key;
    std::optional<std::string> value;
    std::optional<std::string> previous;
    Revision created = 0;
    Revision revision = 0;
    bool operator==(const ModelEvent&) const = default;
};

std::ostream& operator<<(std::ostream& out, const ModelEvent& event) {
    return out << event.revision << ' ' << event.key << '=' << event.value.value_or("(deleted)")
               << " was " << event.previous.value_or("(none)") << " created " << event.created;
}

std::optional<std::string> text(const std::shared_ptr<const std::string>& value) {
    return value == nullptr ? std::optional<std::string>{} : *value;
}

// Few short keys, so that operations meet.
rc::Gen<std::string> any_key() {
    return rc::gen::map(rc::gen::pair(rc::gen::inRange(0, 3), rc::gen::inRange(0, 6)),
                        [](const std::pair<int, int>& parts) {
                            return fmt::format("/{}/{}", "abc"[parts.first], parts.second);
                        });
}

rc::Gen<std::string> any_prefix() {
    return rc::gen::element<std::string>("", "/", "/a/", "/b/", "/c", "/c/5", "/d", "/a/0");
}

class Harness {
public:
    explicit Harness(std::size_t history) : options_{folder_.file(), false, history} {
        states_[1] = {};
        reopen();
    }

    void step() {
        switch (*rc::gen::weightedElement<int>(
            {{12, 0}, {4, 1}, {4, 2}, {2, 3}, {1, 4}, {1, 5}, {1, 6}})) {
            case 0: write_batch(); break;
            case 1: read_key(); break;
            case 2: read_range(); break;
            case 3: add_watch(); break;
            case 4: end_watch(); break;
            case 5: compact(); break;
            default: reopen(); break;
        }
        RC_ASSERT(store_->revision() == newest());
    }

    void finish() {
        check_watches();
        for (Revision at = store_->compacted(); at <= newest(); ++at) {
            check_range("", "", 0, at);
        }
        reopen();
        for (Revision at = store_->compacted(); at <= newest(); ++at) {
            check_range("", "", 0, at);
        }
    }

private:
    struct Watching {
        std::string prefix;
        Revision after = 0;
        Collector collector;
        std::unique_ptr<Watch> handle;
    };

    [[nodiscard]] Revision newest() const { return states_.rbegin()->first; }

    // Sometimes the revision the key has, so that conditions hold often enough.
    std::optional<Revision> any_condition(const std::string& key) {
        const State& state = states_.rbegin()->second;
        auto found = state.find(key);
        switch (*rc::gen::inRange(0, 4)) {
            case 0: return std::nullopt;
            case 1: return Revision{0};
            case 2: return found == state.end() ? 0 : found->second.modified;
            default: return *rc::gen::inRange<Revision>(0, newest() + 2);
        }
    }

    void write_batch() {
        struct Sent {
            Write write;
            std::future<Result<WriteResult>> answer;
        };
        std::vector<Sent> batch;
        const int count = *rc::gen::inRange(1, 8);
        for (int i = 0; i < count; ++i) {
            Write write;
            write.key = *any_key();
            if (*rc::gen::inRange(0, 4) != 0) {
                write.value = fmt::format("v{}", *rc::gen::inRange(0, 1000));
            }
            write.expected = any_condition(write.key);
            batch.push_back({write, submit(*store_, write)});
        }
        for (Sent& sent : batch) {
            auto answer = sent.answer.get();
            RC_ASSERT(answer.has_value());
            expect_answer(sent.write, *answer);
        }
        // Automatic compaction follows the answers; an empty compaction queues behind it, so that
        // what compacted() says is still so when a read is judged by it.
        RC_ASSERT(store_->compact(0).has_value());
    }

    void expect_answer(const Write& write, const WriteResult& answer) {
        State state = states_.rbegin()->second;
        auto found = state.find(write.key);
        const bool exists = found != state.end();
        const ModelValue before = exists ? found->second : ModelValue{};
        if (write.expected && *write.expected != before.modified) {
            RC_ASSERT(answer.condition_failed);
            RC_ASSERT(answer.current.mod_revision == before.modified);
            RC_ASSERT(text(answer.current.value) ==
                      (exists ? std::optional(before.value) : std::nullopt));
            return;
        }
        RC_ASSERT(!answer.condition_failed);
        if (!write.value && !exists) {
            RC_ASSERT(answer.revision == newest());
            return;
        }
        const Revision revision = newest() + 1;
        RC_ASSERT(answer.revision == revision);
        RC_ASSERT(text(answer.previous) == (exists ? std::optional(before.value) : std::nullopt));
        ModelEvent event{write.key, write.value, text(answer.previous), 0, revision};
        if (write.value) {
            event.created = exists ? before.created : revision;
            state[write.key] = {*write.value, event.created, revision};
            RC_ASSERT(answer.current.create_revision == event.created);
            RC_ASSERT(answer.current.mod_revision == revision);
        } else {
            state.erase(write.key);
            RC_ASSERT(answer.current.value == nullptr);
        }
        RC_ASSERT(text(answer.current.value) == write.value);
        states_[revision] = std::move(state);
        events_.push_back(event);
    }

    // 0 (the newest), or a revision that may be compacted, readable, or in the future.
    Revision any_revision() {
        return *rc::gen::oneOf(rc::gen::just(Revision{0}),
                               rc::gen::inRange<Revision>(1, newest() + 2));
    }

    // What a read at `at` must fail with, nullopt if it must succeed.
    std::optional<Code> expected_failure(Revision at) {
        if (at > newest()) {
            return Code::kFailedPrecondition;
        }
        if (at != 0 && at < store_->compacted()) {
            return Code::kOutOfRange;
        }
        return std::nullopt;
    }

    void read_key() {
        const Revision at = any_revision();
        const std::string key = *any_key();
        auto result = store_->get(key, at);
        if (auto failure = expected_failure(at)) {
            RC_ASSERT(!result.has_value());
            RC_ASSERT(result.error().code == *failure);
            return;
        }
        RC_ASSERT(result.has_value());
        const State& state = states_.at(at == 0 ? newest() : at);
        auto found = state.find(key);
        RC_ASSERT(result->has_value() == (found != state.end()));
        if (result->has_value()) {
            expect_item(**result, *found);
        }
    }

    static void expect_item(const KeyValue& item, const State::value_type& model) {
        RC_ASSERT(item.key == model.first);
        RC_ASSERT(item.value != nullptr);
        RC_ASSERT(*item.value == model.second.value);
        RC_ASSERT(item.create_revision == model.second.created);
        RC_ASSERT(item.mod_revision == model.second.modified);
    }

    void read_range() {
        const std::string after = *rc::gen::oneOf(rc::gen::just(std::string()), any_key());
        check_range(*any_prefix(), after, *rc::gen::inRange<std::uint64_t>(0, 6), any_revision());
    }

    void check_range(const std::string& prefix, const std::string& after, std::uint64_t limit,
                     Revision at) {
        auto result = store_->range(prefix, after, limit, at);
        if (auto failure = expected_failure(at)) {
            RC_ASSERT(!result.has_value());
            RC_ASSERT(result.error().code == *failure);
            return;
        }
        RC_ASSERT(result.has_value());
        const Revision seen_at = at == 0 ? newest() : at;
        RC_ASSERT(result->revision == seen_at);
        std::vector<State::value_type> expected;
        for (const auto& item : states_.at(seen_at)) {
            if (item.first.starts_with(prefix) && (after.empty() || item.first > after)) {
                expected.push_back(item);
            }
        }
        const std::size_t shown =
            limit == 0 ? expected.size() : std::min<std::size_t>(limit, expected.size());
        RC_ASSERT(result->items.size() == shown);
        for (std::size_t i = 0; i < shown; ++i) {
            expect_item(result->items[i], expected[i]);
        }
        RC_ASSERT(result->remaining == expected.size() - shown);
        RC_ASSERT(result->more == (expected.size() > shown));
    }

    void add_watch() {
        auto watching = std::make_unique<Watching>();
        watching->prefix = *any_prefix();
        watching->after = *rc::gen::inRange<Revision>(0, newest() + 2);
        auto handle = store_->watch(watching->prefix, watching->after, watching->collector.sink());
        if (watching->after < store_->compacted() || watching->after > newest()) {
            RC_ASSERT(!handle.has_value());
            RC_ASSERT(handle.error().code ==
                      (watching->after > newest() ? Code::kFailedPrecondition : Code::kOutOfRange));
            return;
        }
        RC_ASSERT(handle.has_value());
        watching->handle = std::move(*handle);
        // Before anything may compact what it is to replay.
        RC_ASSERT(watching->collector.wait_for(newest()));
        watches_.push_back(std::move(watching));
    }

    void check_watch(Watching& watching) {
        RC_ASSERT(watching.collector.wait_for(newest()));
        const auto seen = watching.collector.seen();
        RC_ASSERT(!seen.error.has_value());
        std::vector<ModelEvent> got;
        for (const Event& event : seen.events) {
            got.push_back({event.current.key, text(event.current.value), text(event.previous),
                           event.current.create_revision, event.current.mod_revision});
        }
        std::vector<ModelEvent> expected;
        for (const ModelEvent& event : events_) {
            if (event.revision > watching.after && event.key.starts_with(watching.prefix)) {
                expected.push_back(event);
            }
        }
        RC_ASSERT(got == expected);
        RC_ASSERT(std::is_sorted(seen.progress.begin(), seen.progress.end()));
    }

    void check_watches() {
        for (auto& watching : watches_) {
            check_watch(*watching);
        }
    }

    void end_watch() {
        if (watches_.empty()) {
            return;
        }
        const auto index = *rc::gen::inRange<std::size_t>(0, watches_.size());
        check_watch(*watches_[index]);
        watches_.erase(watches_.begin() + static_cast<std::ptrdiff_t>(index));
    }

    void compact() {
        const Revision before = store_->compacted();
        const auto revision = *rc::gen::inRange<Revision>(0, newest() + 2);
        auto result = store_->compact(revision);
        RC_ASSERT(result.has_value() == (revision <= newest()));
        if (result) {
            // Not less than asked, and more only where the history limit asks for it.
            RC_ASSERT(store_->compacted() >= std::max(before, revision));
        }
    }

    void reopen() {
        if (store_ != nullptr) {
            check_watches();
        }
        watches_.clear();
        store_.reset();
        auto store = open_sqlite(options_);
        RC_ASSERT(store.has_value());
        store_ = std::move(*store);
        RC_ASSERT(store_->revision() == newest());
    }

    TemporaryFolder folder_;
    SqliteOptions options_;
    std::unique_ptr<Store> store_;
    std::map<Revision, State> states_;
    std::vector<ModelEvent> events_;
    std::vector<std::unique_ptr<Watching>> watches_;
};

void run_walk(std::size_t history) {
    Harness harness(history);
    const int steps = *rc::gen::inRange(5, 80);
    for (int i = 0; i < steps; ++i) {
        harness.step();
    }
    harness.finish();
}

TEST(StoreModelTest, AnyWalkGivesWhatTheModelGives) {
    EXPECT_TRUE(rc::check("long history", [] { run_walk(100'000); }));
}

TEST(StoreModelTest, AnyWalkGivesWhatTheModelGivesWithAutomaticCompaction) {
    EXPECT_TRUE(rc::check("history of a few events",
                          [] { run_walk(*rc::gen::inRange<std::size_t>(1, 20)); }));
}

}  // namespace
}  // namespace sluice::store
