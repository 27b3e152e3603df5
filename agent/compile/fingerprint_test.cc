// What a fingerprint must see: a field that it missed would be a change that packets never follow.
#include "agent/compile/fingerprint.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>
#include <vector>

namespace sluice::compile {
namespace {

image::Service plain() {
    image::Service out;
    out.key = {"d/web", "http", Protocol::kTcp, IpFamily::kIpv4};
    out.port = 80;
    out.frontends = {{*IpAddress::parse("10.96.0.1"), 80, image::Scope::kAddress, false, false, false,
                      image::Forwarding::kNat}};
    const image::Backend backend{*IpAddress::parse("10.1.0.1"), 8080, false, false, "d/pod", 1};
    for (auto* set : {&out.internal, &out.external, &out.inside}) set->backends = {backend};
    out.sources = {{*IpAddress::parse("192.0.2.0"), *IpAddress::parse("192.0.2.255")}};
    return out;
}

TEST(Fingerprint, EveryFieldThatPacketsOrPeopleSeeMakesAnother) {
    using Change = std::function<void(image::Service&)>;
    const auto other = *IpAddress::parse("198.51.100.9");
    std::vector<Change> changes = {
        [](auto& s) { s.port = 81; },
        [](auto& s) { s.affinity_timeout_s = 10; },
        [](auto& s) { s.choice = image::Choice::kTuple; },
        [](auto& s) { s.frontends.clear(); },
        [](auto& s) { s.frontends.push_back(s.frontends[0]); },
        [&](auto& s) { s.frontends[0].address = other; },
        [](auto& s) { s.frontends[0].port = 81; },
        [](auto& s) { s.frontends[0].scope = image::Scope::kNodePort; },
        [](auto& s) { s.frontends[0].external = true; },
        [](auto& s) { s.frontends[0].masquerade = true; },
        [](auto& s) { s.frontends[0].restricted = true; },
        [](auto& s) { s.frontends[0].forwarding = image::Forwarding::kTunnel; },
        [](auto& s) { s.sources.clear(); },
        [&](auto& s) { s.sources[0].first = other; },
        [&](auto& s) { s.sources[0].last = other; },
    };
    for (const auto set : {&image::Service::internal, &image::Service::external, &image::Service::inside}) {
        const std::vector<std::function<void(image::BackendSet&)>> of_set = {
            [](auto& s) { s.when_empty_drop = true; },
            [](auto& s) { s.backends.clear(); },
            [](auto& s) { s.backends.push_back(s.backends[0]); },
            [&](auto& s) { s.backends[0].address = other; },
            [](auto& s) { s.backends[0].port = 81; },
            [](auto& s) { s.backends[0].local = true; },
            [](auto& s) { s.backends[0].terminating = true; },
            [](auto& s) { s.backends[0].target = "d/pox"; },
            [](auto& s) { s.backends[0].weight = 2; },
        };
        for (const auto& change : of_set) changes.emplace_back([set, change](auto& s) { change(s.*set); });
    }
    std::set<Fingerprint> seen = {fingerprint_of(plain())};
    EXPECT_EQ(fingerprint_of(plain()), *seen.begin());
    for (std::size_t i = 0; i < changes.size(); ++i) {
        image::Service changed = plain();
        changes[i](changed);
        EXPECT_TRUE(seen.insert(fingerprint_of(changed)).second) << "change " << i;
    }
}

// A pod's name that runs into the next field, or a backend that moves from one set into the next.
TEST(Fingerprint, ListsAndNamesDoNotRunIntoOneAnother) {
    image::Service one = plain();
    one.internal.backends.push_back(one.internal.backends[0]);
    image::Service two = plain();
    two.external.backends.push_back(two.external.backends[0]);
    EXPECT_NE(fingerprint_of(one), fingerprint_of(two));
    one = plain();
    one.internal.backends[0].target = "";
    one.internal.when_empty_drop = true;
    two = plain();
    two.internal.backends[0].target = std::string(1, '\0');
    EXPECT_NE(fingerprint_of(one), fingerprint_of(two));
}

}  // namespace
}  // namespace sluice::compile
