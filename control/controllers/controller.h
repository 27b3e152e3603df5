// What every controller is: a queue of keys, filled by handlers of shared informers, and a
// reconcile function that makes the world as the object says. Controllers speak to nothing but the
// Kubernetes API.
//
// A controller's file reads: add handlers (which changes concern which key), then reconcile(key).
// Reconcile is level driven: it looks at the caches as they are, never at what changed, and may be
// called any number of times.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "api/base/result.h"
#include "api/client/client.h"
#include "api/client/event_recorder.h"
#include "api/client/informer.h"
#include "api/client/work_queue.h"

namespace sluice::controllers {

// The shared informers, made when first asked for, started together.
class InformerSet {
public:
    explicit InformerSet(client::Client& client) : client_(client) {}
    // REQUIRES: before start() for kinds that nobody has asked for yet.
    client::Informer& get(const codec::KindInfo& kind);
    void start();
    bool wait_synced(const std::stop_token& stop) const;
    void stop();

private:
    client::Client& client_;
    std::map<const codec::KindInfo*, std::unique_ptr<client::Informer>> informers_;
};

// What controllers are given. Outlives them.
struct Context {
    client::Client& client;
    InformerSet& informers;
    client::EventRecorder& events;
    // Unix time in nanoseconds; another clock in tests.
    std::function<std::int64_t()> now_ns;
};

// Why a reconcile is to be tried again; failures are logged, and retried later and later.
using Reconciled = Result<void>;

class Controller {
public:
    virtual ~Controller() = default;
    [[nodiscard]] virtual const char* name() const = 0;
    [[nodiscard]] virtual client::WorkQueue& queue() = 0;
    // Called by one worker at a time for one key.
    virtual Reconciled reconcile(const std::string& key) = 0;
    // Workers that may reconcile different keys side by side.
    [[nodiscard]] virtual int workers() const { return 2; }
};

// The controller that an object's owner references name as the one that manages it; nullopt when
// none does.
struct OwnerRef {
    std::string api_version;
    std::string kind;
    std::string name;
    std::string uid;
};
[[nodiscard]] std::optional<OwnerRef> controller_of(const google::protobuf::Message& object);

// Runs the workers of a set of controllers, once the informers are in step, until destroyed.
class Runner {
public:
    Runner(Context& context, std::vector<std::unique_ptr<Controller>> controllers);
    ~Runner();
    Runner(const Runner&) = delete;
    Runner& operator=(const Runner&) = delete;

private:
    void work(Controller& controller, const std::stop_token& stop);

    Context& context_;
    std::vector<std::unique_ptr<Controller>> controllers_;
    std::vector<std::jthread> threads_;
};

}  // namespace sluice::controllers
