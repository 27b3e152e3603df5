#include "control/store/encryption/encrypted_store.h"

#include <chrono>
#include <condition_variable>
#include <fstream>
#include <iterator>
#include <mutex>
#include <thread>
#include <utility>

#include "api/base/log.h"

namespace sluice::store {

namespace {

using ConfigPtr = std::shared_ptr<const EncryptionConfig>;

Result<std::string> read_config(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    std::string text(kMaxEncryptionConfigBytes + 1, '\0');
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (in.bad() || !in.is_open()) {
        return make_error(Code::kInvalidArgument, "{} cannot be read", path);
    }
    text.resize(static_cast<std::size_t>(in.gcount()));
    return text;
}

Error about(const Error& error, std::string_view key) {
    return make_error(Code::kDataLoss, "unable to transform key \"{}\": {}", key, error.message);
}

// The configuration in force. Shared with the sinks of watches, which may outlive nothing of it.
class Keys {
public:
    explicit Keys(ConfigPtr config) : config_(std::move(config)) {}
    [[nodiscard]] ConfigPtr get() const {
        const std::lock_guard guard(mutex_);
        return config_;
    }
    void set(ConfigPtr config) {
        const std::lock_guard guard(mutex_);
        config_ = std::move(config);
    }

private:
    mutable std::mutex mutex_;
    ConfigPtr config_;
};

// Decrypts in place. `stale` may be null.
Result<void> open_value(const EncryptionConfig& config, const std::string& key,
                        std::shared_ptr<const std::string>* value, bool* stale) {
    if (*value == nullptr) {
        return {};
    }
    const EncryptionRule* rule = config.rule_for(key);
    if (rule == nullptr) {
        return {};
    }
    auto plain = EncryptionConfig::open(*rule, **value, key);
    if (!plain) {
        return about(plain.error(), key);
    }
    if (*plain) {
        *value = std::make_shared<const std::string>(std::move((*plain)->value));
        if (stale != nullptr) {
            *stale = (*plain)->stale;
        }
    }
    return {};
}

// The events of the last batch that was decrypted, as the watches of a prefix are told of one after the other. Used by
// the store's thread alone.
class Opened {
public:
    Result<EventBatch> get(const ConfigPtr& config, const EventBatch& batch) {
        if (batch == sealed_ && config == config_) {
            return open_;
        }
        auto events = std::make_shared<std::vector<Event>>(*batch);
        for (Event& event : *events) {
            SLUICE_TRY(open_value(*config, event.current.key, &event.current.value,
                                  &event.current.stale));
            SLUICE_TRY(open_value(*config, event.current.key, &event.previous, nullptr));
        }
        config_ = config;
        sealed_ = batch;
        open_ = std::move(events);
        return open_;
    }

private:
    ConfigPtr config_;
    EventBatch sealed_;
    EventBatch open_;
};

// Encrypts in place, if the key's rule says so.
Result<void> seal_value(const EncryptionConfig& config, const std::string& key,
                        std::optional<std::string>* value) {
    const EncryptionRule* rule = *value ? config.rule_for(key) : nullptr;
    if (rule == nullptr) {
        return {};
    }
    auto sealed = EncryptionConfig::seal(*rule, **value, key);
    if (!sealed) {
        return make_error(Code::kInternal, "unable to transform key \"{}\": {}", key,
                          sealed.error().message);
    }
    *value = std::move(*sealed);
    return {};
}

class EncryptedStore final : public Store {
public:
    EncryptedStore(std::unique_ptr<Store> store, std::string path, std::string text,
                   ConfigPtr config)
        : store_(std::move(store)),
          path_(std::move(path)),
          text_(std::move(text)),
          keys_(std::make_shared<Keys>(std::move(config))),
          thread_([this] { follow_file(); }) {}
    ~EncryptedStore() override {
        {
            const std::lock_guard guard(mutex_);
            stopping_ = true;
        }
        wake_.notify_one();
        thread_.join();
        store_.reset();
    }
    EncryptedStore(const EncryptedStore&) = delete;
    EncryptedStore& operator=(const EncryptedStore&) = delete;

    [[nodiscard]] Revision revision() const override { return store_->revision(); }
    [[nodiscard]] Revision compacted() const override { return store_->compacted(); }
    [[nodiscard]] Stats stats() const override { return store_->stats(); }
    [[nodiscard]] bool shared() const override { return store_->shared(); }
    [[nodiscard]] Result<void> healthy() const override { return store_->healthy(); }
    void fence(std::function<void(Result<Revision>)> done) override {
        store_->fence(std::move(done));
    }
    Result<void> compact(Revision revision) override { return store_->compact(revision); }

    [[nodiscard]] Result<std::optional<KeyValue>> get(std::string_view key,
                                                      Revision at) const override {
        SLUICE_TRY_ASSIGN(std::optional<KeyValue> found, store_->get(key, at));
        if (found) {
            SLUICE_TRY(open_value(*keys_->get(), found->key, &found->value, &found->stale));
        }
        return found;
    }

    [[nodiscard]] Result<RangeResult> range(std::string_view prefix, std::string_view after,
                                            std::uint64_t limit, Revision at) const override {
        SLUICE_TRY_ASSIGN(RangeResult result, store_->range(prefix, after, limit, at));
        const ConfigPtr config = keys_->get();
        for (KeyValue& item : result.items) {
            SLUICE_TRY(open_value(*config, item.key, &item.value, &item.stale));
        }
        return result;
    }

    void write(Write write, std::function<void(Result<WriteResult>)> done) override {
        const ConfigPtr config = keys_->get();
        for (Companion& other : write.also) {
            if (auto ok = seal_value(*config, other.key, &other.value); !ok) {
                return done(ok.error());
            }
        }
        if (config->rule_for(write.key) == nullptr) {
            return store_->write(std::move(write), std::move(done));
        }
        std::shared_ptr<const std::string> plain;
        if (write.value) {
            plain = std::make_shared<const std::string>(*write.value);
            if (auto ok = seal_value(*config, write.key, &write.value); !ok) {
                return done(ok.error());
            }
        }
        store_->write(std::move(write), [keys = keys_, plain = std::move(plain),
                                         done = std::move(done)](Result<WriteResult> result) {
            if (!result) {
                return done(std::move(result));
            }
            const ConfigPtr now = keys->get();
            const std::string key = result->current.key;
            if (!result->condition_failed && plain != nullptr) {
                result->current.value = plain;
            } else if (auto ok = open_value(*now, key, &result->current.value,
                                            &result->current.stale);
                       !ok) {
                return done(ok.error());
            }
            // The write is in force: what it replaced, should it be unreadable, is no reason to
            // say otherwise.
            if (!open_value(*now, key, &result->previous, nullptr)) {
                result->previous = nullptr;
            }
            done(std::move(result));
        });
    }

    Result<std::unique_ptr<Watch>> watch(std::string prefix, Revision after,
                                         WatchSink sink) override {
        return store_->watch(
            std::move(prefix), after,
            [keys = keys_, opened = opened_, sink = std::move(sink), ended = false](
                Result<EventBatch> events, Revision revision) mutable {
                if (ended) {
                    return;
                }
                if (!events || (*events)->empty()) {
                    return sink(std::move(events), revision);
                }
                auto readable = opened->get(keys->get(), *events);
                if (!readable) {
                    ended = true;
                }
                sink(std::move(readable), revision);
            });
    }

private:
    void follow_file() {
        std::unique_lock lock(mutex_);
        std::string refused;
        while (!wake_.wait_for(lock, std::chrono::milliseconds(kConfigReloadIntervalMs),
                               [this] { return stopping_; })) {
            auto text = read_config(path_);
            if (!text || *text == text_ || *text == refused) {
                continue;
            }
            auto config = EncryptionConfig::parse(*text);
            if (!config) {
                log::error("store", "{} is not taken over: {}", path_, config.error().message);
                refused = std::move(*text);
                continue;
            }
            keys_->set(std::move(*config));
            text_ = std::move(*text);
            refused.clear();
            log::info("store", "{} was read again and is in force", path_);
        }
    }

    std::unique_ptr<Store> store_;
    const std::string path_;
    std::string text_;  // of the configuration in force; guarded by mutex_
    std::shared_ptr<Keys> keys_;
    const std::shared_ptr<Opened> opened_ = std::make_shared<Opened>();
    std::mutex mutex_;
    std::condition_variable wake_;
    bool stopping_ = false;  // guarded by mutex_
    std::thread thread_;     // last: it uses everything above
};

}  // namespace

Result<std::unique_ptr<Store>> encrypt_store(std::unique_ptr<Store> store,
                                             const std::string& config_path) {
    SLUICE_TRY_ASSIGN(std::string text, read_config(config_path));
    auto config = EncryptionConfig::parse(text);
    if (!config) {
        return config.error().with_context(config_path);
    }
    return std::unique_ptr<Store>(std::make_unique<EncryptedStore>(
        std::move(store), config_path, std::move(text), std::move(*config)));
}

}  // namespace sluice::store
