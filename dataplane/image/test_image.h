// What tests of the publisher share: short ways to write services, and an image that grows as an
// engine's does.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bpf/lib/view_memory.h"
// The view comes first: the look-up is written against it.
#include "bpf/lib/select.h"
#include "dataplane/image/publisher.h"
#include "dataplane/image/reader.h"

namespace sluice::image {

inline IpAddress ip(const std::string& text) {
    return IpAddress::parse(text).value();
}

inline Backend backend(int number, std::uint16_t port = 8080) {
    return Backend{ip(fmt::format("10.0.{}.{}", number / 250, 1 + number % 250)), port, false,
                   false, fmt::format("default/pod-{}", number)};
}

inline Service service(int number, std::vector<Backend> backends, std::vector<Frontend> frontends) {
    Service out;
    out.key =
        ServiceKey{fmt::format("default/s{}", number), "http", Protocol::kTcp, IpFamily::kIpv4};
    out.port = 80;
    std::sort(backends.begin(), backends.end());
    out.internal.backends = backends;
    out.external.backends = backends;
    out.inside.backends = std::move(backends);
    std::sort(frontends.begin(), frontends.end());
    out.frontends = std::move(frontends);
    return out;
}

inline Frontend cluster_ip(const std::string& address, std::uint16_t port = 80) {
    return Frontend{ip(address), port, Scope::kAddress, false, false, false, Forwarding::kNat};
}
inline Frontend external_ip(const std::string& address, std::uint16_t port = 80) {
    return Frontend{ip(address), port, Scope::kAddress, true, true, false, Forwarding::kNat};
}
inline Frontend node_port(std::uint16_t port) {
    return Frontend{IpAddress{}, port, Scope::kNodePort, true, true, false, Forwarding::kNat};
}

// An image that grows as the engine's does, with a grace period at every step.
class Image {
public:
    explicit Image(Node node = {}, Capacities capacities = small()) : node_(std::move(node)) {
        memory_ = make(capacities);
        publisher_ = std::make_unique<Publisher>(memory_->tables(), Carried{});
        must([&] { return publisher_->set_node_addresses(node_.nodeport_addresses); });
    }
    static Capacities small() {
        Capacities out;
        out.buckets = 2;
        out.frontends = 8;
        out.services = 4;
        out.set_slots = 8;
        out.backends = 8;
        out.name_bytes = 256;
        out.counter_rows = 2;
        return out;
    }
    template <class Step>
    void must(Step step) {
        for (int i = 0; i < 64; ++i) {
            const auto done = step();
            if (done) return;
            ASSERT_EQ(done.error().code, Code::kResourceExhausted) << done.error().to_string();
            Capacities wanted = publisher_->wanted();
            for (;;) {
                auto larger = make(wanted);
                if (publisher_->copy_into(larger->tables())) {
                    publisher_->switch_to(larger->tables());
                    memory_ = std::move(larger);
                    break;
                }
                wanted.buckets *= 2;
            }
            ++growths;
        }
        FAIL() << "grew without end";
    }
    void upsert(const Service& service) {
        must([&] { return publisher_->upsert(service); });
    }
    void remove(const ServiceKey& key) {
        must([&] { return publisher_->remove(key); });
    }
    void reclaim() { publisher_->release(publisher_->take_retired()); }
    [[nodiscard]] const Tables& tables() const { return memory_->tables(); }
    Publisher& publisher() { return *publisher_; }

    sluice_match ask(const std::string& address, std::uint16_t port,
                     Protocol protocol = Protocol::kTcp) const {
        const sluice_view view = view_of(tables());
        sluice_frontend_key key{image_address(ip(address)), htons(port),
                                static_cast<std::uint8_t>(protocol), SLUICE_SCOPE_ADDRESS};
        const bool perhaps = sluice_may_be_ours(&view, &key.address) != 0;
        sluice_match match{};
        sluice_classify(&view, &key, 0, &match);
        EXPECT_TRUE(perhaps || match.verdict == SLUICE_VERDICT_PASS)
            << address << ": the filter hides what is published";
        return match;
    }
    // "name: address:port ..." of what would be translated, else the verdict and reason.
    [[nodiscard]] std::string answer(const std::string& address, std::uint16_t port,
                                     Protocol protocol = Protocol::kTcp) const {
        const sluice_match match = ask(address, port, protocol);
        if (match.verdict != SLUICE_VERDICT_TRANSLATE) {
            return fmt::format("{}/{}", match.verdict, match.reason);
        }
        std::string out = read_name(tables(), tables().services[match.service].name) + ":";
        for (const auto& member : read_set(tables(), match.word)) {
            out += fmt::format(" {}:{}", address_of(member.address).to_string(),
                               ntohs(member.port_be));
            EXPECT_EQ(member.incarnation % 2, 1U) << "a free backend is in a set";
            EXPECT_EQ(member.service, match.service);
        }
        return out;
    }
    int growths = 0;

private:
    std::unique_ptr<MemoryImage> make(const Capacities& capacities) {
        auto out = std::make_unique<MemoryImage>(capacities);
        const HeaderFacts facts{node_, 1024, 29999, ++seed_ * 0x9e3779b97f4a7c15ULL};
        EXPECT_TRUE(write_header(out->tables(), capacities, facts, 2));
        return out;
    }
    Node node_;
    std::uint64_t seed_ = 0;
    std::unique_ptr<MemoryImage> memory_;
    std::unique_ptr<Publisher> publisher_;
};

inline constexpr const char* kPass = "0/0";
inline std::string refused(int reason) {
    return fmt::format("2/{}", reason);
}
inline std::string dropped(int reason) {
    return fmt::format("3/{}", reason);
}

}  // namespace sluice::image
