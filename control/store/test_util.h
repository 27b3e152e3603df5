// What the store's tests share: a folder that goes away, and writes that wait for their answer.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "control/store/store.h"

namespace sluice::store::testing {

class TemporaryFolder {
public:
    TemporaryFolder() {
        std::string pattern =
            (std::filesystem::temp_directory_path() / "sluice-store-XXXXXX").string();
        SLUICE_ASSERT(::mkdtemp(pattern.data()) != nullptr);
        path_ = pattern;
    }
    ~TemporaryFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    [[nodiscard]] std::string file(const std::string& name = "store.db") const {
        return (path_ / name).string();
    }
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

private:
    std::filesystem::path path_;
};

inline std::string read_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    std::stringstream content;
    content << in.rdbuf();
    return content.str();
}

inline void write_file(const std::string& path, const std::string& content) {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out << content;
    ASSERT_TRUE(out.good());
}

inline std::future<Result<WriteResult>> submit(Store& store, Write write) {
    auto promise = std::make_shared<std::promise<Result<WriteResult>>>();
    auto future = promise->get_future();
    store.write(std::move(write),
                [promise](Result<WriteResult> result) { promise->set_value(std::move(result)); });
    return future;
}

inline Result<WriteResult> write_now(Store& store, Write write) {
    return submit(store, std::move(write)).get();
}

inline Result<WriteResult> put(Store& store, std::string key, std::string value,
                               std::optional<Revision> expected = std::nullopt) {
    return write_now(store, {std::move(key), std::move(value), expected});
}

inline Result<WriteResult> remove(Store& store, std::string key,
                                  std::optional<Revision> expected = std::nullopt) {
    return write_now(store, {std::move(key), std::nullopt, expected});
}

inline std::unique_ptr<Store> open_or_fail(const SqliteOptions& options) {
    auto store = open_sqlite(options);
    if (!store) {
        ADD_FAILURE() << store.error().to_string();
        return nullptr;
    }
    return std::move(*store);
}

// A sink's memory. Threads: the sink from the store's thread, the rest from the test's.
class Collector {
public:
    struct Seen {
        std::vector<Event> events;
        std::vector<Revision> progress;  // the revision of every call, in order
        std::optional<Error> error;
    };

    [[nodiscard]] WatchSink sink() {
        return [shared = shared_](const Result<EventBatch>& events, Revision revision) {
            std::lock_guard guard(shared->mutex);
            if (!events) {
                shared->seen.error = events.error();
            } else {
                for (const Event& event : **events) {
                    shared->seen.events.push_back(event);
                }
                shared->seen.progress.push_back(revision);
            }
            shared->changed.notify_all();
        };
    }
    // Waits until a call has said that everything up to `revision` is delivered, or the watch has
    // ended.
    bool wait_for(Revision revision) {
        return wait([revision](const Seen& seen) {
            return seen.error || (!seen.progress.empty() && seen.progress.back() >= revision);
        });
    }
    bool wait_for_error() {
        return wait([](const Seen& seen) { return seen.error.has_value(); });
    }
    [[nodiscard]] Seen seen() const {
        std::lock_guard guard(shared_->mutex);
        return shared_->seen;
    }

private:
    struct Shared {
        std::mutex mutex;
        std::condition_variable changed;
        Seen seen;
    };
    template <class Predicate>
    bool wait(Predicate predicate) {
        std::unique_lock lock(shared_->mutex);
        // Far beyond what a loaded machine needs; a test that waits so long has failed.
        return shared_->changed.wait_for(lock, std::chrono::seconds(60),
                                         [&] { return predicate(shared_->seen); });
    }
    std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
};

inline std::vector<std::string> keys_of(const RangeResult& result) {
    std::vector<std::string> keys;
    for (const KeyValue& item : result.items) {
        keys.push_back(item.key);
    }
    return keys;
}

}  // namespace sluice::store::testing
