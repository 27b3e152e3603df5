#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <latch>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>

#include <fmt/format.h>

#include "bench/apiserver/load.h"
#include "bench/apiserver/poller.h"

namespace sluice::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kJson = "application/json";
constexpr const char* kConfigMaps = "/api/v1/namespaces/default/configmaps";
constexpr int kSampled = 10;  // watchers that note when each event came
constexpr auto kPatience = std::chrono::seconds(10);

std::uint64_t number_after(std::string_view text, std::string_view word) {
    const std::size_t at = text.find(word);
    std::uint64_t out = 0;
    if (at != std::string_view::npos) {
        const char* begin = text.data() + at + word.size();
        std::from_chars(begin, text.data() + text.size(), out);
    }
    return out;
}

struct Change {
    Clock::time_point begun;
    Clock::time_point answered;
};

class Watcher {
public:
    Watcher(std::unique_ptr<Client> client, std::string name_word, std::uint64_t changes, bool sampled)
        : client_(std::move(client)), name_word_(std::move(name_word)), changes_(changes) {
        if (sampled) seen_.resize(changes);
    }

    Result<void> start(const std::string& path) { return client_->send({"GET", path, kJson, {}, {}}); }
    [[nodiscard]] Client& client() { return *client_; }
    // Reads what there is. The server does not end a watch that is wanted.
    void read() {
        const auto over = client_->receive(take_part_);
        if (!over || *over) ended = true;
    }

    std::atomic<std::uint64_t> count{0};
    std::uint64_t disordered = 0;
    std::atomic<bool> ended{false};
    [[nodiscard]] const std::vector<Clock::time_point>& seen() const { return seen_; }

private:
    void take_lines(std::string_view part) {
        if (!rest_.empty()) {
            rest_.append(part);
            part = rest_;
        }
        std::size_t from = 0;
        for (std::size_t end = 0; (end = part.find('\n', from)) != std::string_view::npos; from = end + 1) {
            take(part.substr(from, end - from));
        }
        if (rest_.empty()) {
            rest_ = part.substr(from);
        } else {
            rest_.erase(0, from);
        }
    }
    void take(std::string_view event) {
        if (!event.starts_with(R"({"type":"ADDED")")) return;
        const std::size_t at = event.find(name_word_);
        if (at == std::string_view::npos) return;
        std::uint64_t n = 0;
        std::from_chars(event.data() + at + name_word_.size(), event.data() + event.size(), n);
        const std::uint64_t version = number_after(event, R"("resourceVersion":")");
        if (version <= version_) ++disordered;
        version_ = version;
        if (!seen_.empty() && n < changes_) seen_[n] = Clock::now();
        count.fetch_add(1, std::memory_order_relaxed);
    }

    std::unique_ptr<Client> client_;
    const std::string name_word_;
    const std::uint64_t changes_;
    const Answer::Take take_part_ = [this](std::string_view part) { take_lines(part); };
    std::string rest_;  // a line that is not whole yet
    std::uint64_t version_ = 0;
    std::vector<Clock::time_point> seen_;  // by the change's number; of sampled watchers
};

Result<std::string> newest_version(const Target& target) {
    SLUICE_TRY_ASSIGN(auto client, Client::connect(target));
    std::string begin;
    SLUICE_TRY_ASSIGN(const int status, client->exchange({"GET", fmt::format("{}?limit=1", kConfigMaps), kJson, {}, {}},
                                                         &begin));
    const std::uint64_t version = number_after(begin, R"("resourceVersion":")");
    if (status != 200 || version == 0) return make_error(Code::kUnavailable, "list: {}: {}", status, begin);
    return fmt::format("{}", version);
}

void make_changes(const WatchRun& run, Client& client, int writer, std::vector<Change>& changes,
                  std::atomic<std::uint64_t>& failed) {
    const auto began = Clock::now();
    const auto writers = static_cast<std::uint64_t>(run.writers);
    for (auto n = static_cast<std::uint64_t>(writer); n < run.changes; n += writers) {
        if (run.changes_per_s > 0) {
            std::this_thread::sleep_until(began + std::chrono::duration_cast<Clock::duration>(
                std::chrono::duration<double>(static_cast<double>(n) / run.changes_per_s)));
        }
        const std::string body = fmt::format(
            R"({{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{}-{}"}},"data":{{"value":"{}"}}}})",
            run.prefix, n, std::string(static_cast<std::size_t>(run.value_bytes), 'v'));
        changes[n].begun = Clock::now();
        const auto status = client.exchange({"POST", kConfigMaps, kJson, kJson, body});
        changes[n].answered = Clock::now();
        if (!status || *status != 201) ++failed;
    }
}

// Reads what the watchers from first to before last get, until there is nothing more to wait for.
void follow(std::vector<std::unique_ptr<Watcher>>& watchers, std::size_t first, std::size_t last,
            const std::atomic<bool>& stop) {
    Poller poller;
    for (std::size_t i = first; i < last; ++i) poller.add(watchers[i]->client(), i);
    constexpr std::chrono::milliseconds kLook{20};
    while (!stop) {
        poller.wait(kLook, [&](std::size_t i) {
            if (!watchers[i]->ended) watchers[i]->read();
        });
    }
}

double milliseconds(Clock::duration duration) {
    return std::max(0.0, std::chrono::duration<double, std::milli>(duration).count());
}

}  // namespace

Result<WatchOutcome> run_watch(const WatchRun& run) {
    SLUICE_TRY_ASSIGN(const std::string version, newest_version(run.target));
    const std::string path = fmt::format("{}?watch=true&resourceVersion={}", kConfigMaps, version);
    const std::string name_word = fmt::format(R"("name":"{}-)", run.prefix);
    std::vector<std::unique_ptr<Watcher>> watchers;
    for (int i = 0; i < run.watchers; ++i) {
        SLUICE_TRY_ASSIGN(auto client, Client::connect(run.target));
        watchers.push_back(std::make_unique<Watcher>(std::move(client), name_word, run.changes, i < kSampled));
    }
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < run.writers; ++i) {
        SLUICE_TRY_ASSIGN(auto client, Client::connect(run.target));
        clients.push_back(std::move(client));
    }
    for (const auto& watcher : watchers) SLUICE_TRY(watcher->start(path));
    std::atomic<bool> stop{false};
    std::vector<std::jthread> following;
    const auto parts = static_cast<std::size_t>(std::max(1, std::min(run.threads, run.watchers)));
    for (std::size_t i = 0; i < parts; ++i) {
        following.emplace_back([&, i] {
            follow(watchers, watchers.size() * i / parts, watchers.size() * (i + 1) / parts, stop);
        });
    }
    std::vector<Change> changes(run.changes);
    std::atomic<std::uint64_t> failed{0};
    const double cpu = own_cpu_seconds();
    const auto began = Clock::now();
    {
        std::vector<std::jthread> writing;
        for (int i = 0; i < run.writers; ++i) {
            Client& client = *clients[static_cast<std::size_t>(i)];
            writing.emplace_back([&, i] { make_changes(run, client, i, changes, failed); });
        }
    }
    const auto all_there = [&] {
        return std::all_of(watchers.begin(), watchers.end(),
                           [&](const auto& watcher) { return watcher->count >= run.changes || watcher->ended; });
    };
    const auto deadline = Clock::now() + kPatience;
    while (!all_there() && Clock::now() < deadline) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    WatchOutcome out;
    out.seconds = std::chrono::duration<double>(Clock::now() - began).count();
    out.client_cpu_s = own_cpu_seconds() - cpu;
    stop = true;
    following.clear();
    if (failed != 0) return make_error(Code::kUnavailable, "{} of {} changes were refused", failed.load(), run.changes);
    out.changes = run.changes;
    for (const auto& watcher : watchers) {
        out.delivered += watcher->count;
        out.missing += run.changes - std::min<std::uint64_t>(run.changes, watcher->count) + watcher->disordered;
        out.ended += watcher->ended ? 1 : 0;
        for (std::size_t n = 0; n < watcher->seen().size(); ++n) {
            const auto seen = watcher->seen()[n];
            if (seen == Clock::time_point{}) continue;
            out.from_request_ms.push_back(milliseconds(seen - changes[n].begun));
            out.from_answer_ms.push_back(milliseconds(seen - changes[n].answered));
        }
    }
    std::sort(out.from_request_ms.begin(), out.from_request_ms.end());
    std::sort(out.from_answer_ms.begin(), out.from_answer_ms.end());
    return out;
}

}  // namespace sluice::bench
