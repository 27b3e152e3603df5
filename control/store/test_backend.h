// The two kinds of store for the tests that both have to pass: the embedded one in a folder, and
// one over an etcd of its own, started for the test and ended with it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "control/store/etcd/test_etcd.h"
#include "control/store/test_util.h"

namespace sluice::store::testing {

class Backend {
public:
    virtual ~Backend() = default;
    // Opens the store, the same one each time. The one opened before must be gone.
    [[nodiscard]] virtual Result<std::unique_ptr<Store>> open(std::size_t history_events) = 0;
    [[nodiscard]] virtual bool embedded() const = 0;
};

class EmbeddedBackend final : public Backend {
public:
    Result<std::unique_ptr<Store>> open(std::size_t history_events) override {
        return open_sqlite({folder_.file(), false, history_events});
    }
    [[nodiscard]] bool embedded() const override { return true; }
    [[nodiscard]] std::string path() const { return folder_.file(); }

private:
    TemporaryFolder folder_;
};

class EtcdBackend final : public Backend {
public:
    Result<std::unique_ptr<Store>> open(std::size_t history_events) override {
        EtcdOptions options = etcd_.options();
        options.history_events = history_events;
        return open_etcd(options);
    }
    [[nodiscard]] bool embedded() const override { return false; }

private:
    TestEtcd etcd_;
};

inline std::unique_ptr<Backend> make_backend(const std::string& name) {
    if (name == "embedded") {
        return std::make_unique<EmbeddedBackend>();
    }
    return std::make_unique<EtcdBackend>();
}

inline constexpr const char* kNoEtcd = "etcd is not installed (package etcd-server)";

}  // namespace sluice::store::testing
