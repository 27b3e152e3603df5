// A real API server in the test's own process: store in a temporary folder, HTTPS on a free loopback port, its own
// certificate authority. Controllers, the scheduler and the kubelet are tested against it, as against any other.
//
//     TestCluster cluster;                             // serves once constructed
//     cluster.create("kind: Deployment\n...");         // YAML, several documents with "---"
//     EXPECT_TRUE(eventually([&] { return ...; }));
//
// Failures to start or to create abort the test program with the reason: nothing after them would mean anything.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace google::protobuf {
class Message;
}
namespace sluice::codec {
struct KindInfo;
}
namespace sluice::client {
class Client;
struct ClientConfig;
}  // namespace sluice::client

namespace sluice::testing {

// How long eventually() waits unless told: generous, for machines that do much else. No test measures it.
inline constexpr std::chrono::seconds kPatience{30};

class TestCluster {
public:
    TestCluster();
    ~TestCluster();
    TestCluster(const TestCluster&) = delete;
    TestCluster& operator=(const TestCluster&) = delete;

    // As an administrator. Thread-safe.
    [[nodiscard]] client::Client& client() const;
    [[nodiscard]] const client::ClientConfig& client_config() const;
    // The same with a certificate for another user; groups separated by commas.
    [[nodiscard]] client::ClientConfig config_for(const std::string& user,
                                                  const std::string& groups = {}) const;
    // "https://127.0.0.1:PORT", and a file for kubectl --kubeconfig.
    [[nodiscard]] const std::string& url() const;
    [[nodiscard]] const std::string& kubeconfig() const;
    // The folder of the store, the certificates and what a test puts beside them; removed at the end.
    [[nodiscard]] const std::string& directory() const;
    [[nodiscard]] const std::string& ca_pem() const;
    [[nodiscard]] const std::string& ca_key_pem() const;

    // Creates what the YAML holds, in its order, in the namespace "default" where it names none.
    // `text` may hold several documents separated by lines "---". Returns the last one as stored;
    // status, if there is one, is stored too.
    std::shared_ptr<google::protobuf::Message> create(std::string_view text) const;
    // A new value of an object that exists: the document is merged into it (JSON merge patch), and the
    // part under `status`, if there is one, into its status.
    std::shared_ptr<google::protobuf::Message> merge(std::string_view text) const;
    // Null when there is none.
    [[nodiscard]] std::shared_ptr<google::protobuf::Message> get(
        const codec::KindInfo& kind, const std::string& namespace_name,
        const std::string& name) const;

private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

// The only kind of that resource ("pods", "deployments"); aborts when there is none.
[[nodiscard]] const codec::KindInfo& kind_named(std::string_view resource);

// An object as its own type, read now; null when there is none.
template <class T>
std::shared_ptr<T> get(const TestCluster& cluster, std::string_view resource,
                       const std::string& namespace_name, const std::string& name) {
    return std::static_pointer_cast<T>(cluster.get(kind_named(resource), namespace_name, name));
}

// True once the condition holds; false when it did not within the time.
[[nodiscard]] bool eventually(const std::function<bool()>& condition,
                              std::chrono::milliseconds patience = kPatience);

}  // namespace sluice::testing
