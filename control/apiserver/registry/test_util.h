// A resource API over a real store in a temporary folder, called without a network.
#pragma once

#include <boost/json/value.hpp>
#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "control/http/server.h"
#include "control/apiserver/registry/api.h"
#include "control/store/store.h"

namespace sluice::registry::testing {

// Collects one answer; thread-safe.
class Recorder : public http::Responder {
public:
    void send(http::Response response) override;
    void begin_stream(http::Response head) override;
    bool write(std::string chunk) override;
    void end_stream() override;
    void on_close(std::function<void()> callback) override;

    // Waits for the whole answer.
    http::Response wait();
    [[nodiscard]] bool answered();
    // Waits until the stream holds this many bytes' worth of lines, or has ended; returns the lines.
    std::vector<std::string> wait_lines(std::size_t count);
    // The bytes streamed so far.
    std::string streamed();
    void hang_up();

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::optional<http::Response> response_;
    std::string stream_;
    bool ended_ = false;
    bool hung_up_ = false;
    std::function<void()> on_close_;
};

// A row's cells with every age, such as "0s", as "AGE": how long a test takes is nobody's business.
std::string ageless(const std::string& cells);

struct Reply {
    int status = 0;
    std::string body;
    std::vector<std::pair<std::string, std::string>> headers;

    [[nodiscard]] boost::json::value json() const;
    // The member at a JSON pointer, as text: strings as they are, other values serialized; "" when absent.
    [[nodiscard]] std::string at(std::string_view pointer) const;
    [[nodiscard]] std::string header(std::string_view name) const;
};

using Headers = std::vector<std::pair<std::string, std::string>>;

inline const Headers kMerge = {{"Content-Type", "application/merge-patch+json"}};
inline const Headers kTable = {{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"}};

class Cluster {
public:
    explicit Cluster(bool dual_stack = false);
    ~Cluster();

    // target: a path with an optional, percent-encoded query.
    Reply call(const std::string& method, const std::string& target, const std::string& body = "",
               const Headers& headers = {});
    std::shared_ptr<Recorder> start(const std::string& method, const std::string& target,
                                    const std::string& body = "", const Headers& headers = {});
    // Stops the API and starts another on the same store.
    void restart();
    store::Store& store() { return *store_; }
    Api& api() { return *api_; }

private:
    void make();

    std::filesystem::path folder_;
    ApiOptions options_;
    std::unique_ptr<store::Store> store_;
    std::unique_ptr<Api> api_;
};

// 422, with `why` in the message.
void expect_refused(const Reply& reply, const std::string& why);
// The first row's cells of a Table, ageless.
std::string cells(Cluster& cluster, const std::string& path);

}  // namespace sluice::registry::testing
