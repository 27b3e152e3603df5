// Objects in, tables out. Each file of testdata/ is one line of the Service semantics: its first
// line quotes it, then come the node, the objects as YAML, and the tables written by hand.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "agent/compile/state.h"
#include "api/codec/json.h"
#include "api/codec/yaml.h"
#include "api/kubernetes/core/v1/service.pb.h"
#include "api/kubernetes/discovery/v1/endpointslice.pb.h"

namespace sluice::compile {
namespace {

std::string bracketed(const IpAddress& address) {
    if (address.is_v4()) return address.to_string();
    std::string out = "[";
    out += address.to_string();
    out += "]";
    return out;
}

std::string text_of(const image::BackendSet& set) {
    if (set.backends.empty()) return set.when_empty_drop ? "drop" : "refuse";
    std::string out;
    for (const auto& backend : set.backends) {
        if (!out.empty()) out += ", ";
        out += bracketed(backend.address);
        out += fmt::format(":{}", backend.port);
        if (backend.weight != 1) out += fmt::format(" weight {}", backend.weight);
        if (backend.local) out += " local";
        if (backend.terminating) out += " terminating";
        if (!backend.target.empty()) out += " " + backend.target;
    }
    return out;
}

std::string text_of(const std::vector<image::Service>& services) {
    std::string out;
    for (const auto& service : services) {
        out += service.key.display() + " " + std::string(protocol_name(service.key.protocol)) +
               (service.key.family == IpFamily::kIpv4 ? " IPv4" : " IPv6") + " port " +
               std::to_string(service.port);
        if (service.affinity_timeout_s > 0) {
            out += " affinity " + std::to_string(service.affinity_timeout_s);
        }
        if (service.choice == image::Choice::kTuple) out += " hash tuple";
        if (service.choice == image::Choice::kClient) out += " hash client";
        out += "\n";
        bool external = false;
        for (const auto& frontend : service.frontends) {
            external = external || frontend.external;
            out += "  at ";
            out += frontend.scope == image::Scope::kNodePort ? "node" : bracketed(frontend.address);
            out += fmt::format(":{}", frontend.port);
            if (frontend.external) out += " external";
            if (frontend.masquerade) out += " masquerade";
            if (frontend.restricted) out += " restricted";
            if (frontend.forwarding == image::Forwarding::kTunnel) out += " tunnel";
            if (frontend.forwarding == image::Forwarding::kOption) out += " option";
            if (frontend.forwarding == image::Forwarding::kLink) out += " link";
            out += "\n";
        }
        out += "  internal " + text_of(service.internal) + "\n";
        if (external) out += "  external " + text_of(service.external) + "\n";
        // Of interest where clients inside are served otherwise than those outside.
        if (service.inside != service.external) {
            out += "  inside " + text_of(service.inside) + "\n";
        }
        for (const auto& range : service.sources) {
            out += "  from " + range.first.to_string() + " to " + range.last.to_string() + "\n";
        }
    }
    return out;
}

std::map<std::string, std::string> sections(const std::string& path) {
    std::ifstream file(path);
    std::map<std::string, std::string> out;
    std::string name;
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with("-- ") && line.ends_with(" --")) {
            name = line.substr(3, line.size() - 6);
        } else {
            out[name] += line + "\n";
        }
    }
    return out;
}

void load(State* state, const std::string& yaml) {
    const auto document = codec::yaml_to_json(yaml);
    ASSERT_TRUE(document) << document.error().message << "\n" << yaml;
    const std::string text = boost::json::serialize(*document);
    const auto kind = codec::peek_json_kind(text);
    ASSERT_TRUE(kind) << kind.error().message;
    if (kind->kind == "Service") {
        corev1::Service service;
        const auto decoded = codec::decode_json(text, &service);
        ASSERT_TRUE(decoded) << decoded.error().message;
        if (!service.metadata().has_namespace_()) service.mutable_metadata()->set_namespace_("d");
        state->upsert(service);
    } else {
        ASSERT_EQ(kind->kind, "EndpointSlice");
        discoveryv1::EndpointSlice slice;
        const auto decoded = codec::decode_json(text, &slice);
        ASSERT_TRUE(decoded) << decoded.error().message;
        if (!slice.metadata().has_namespace_()) slice.mutable_metadata()->set_namespace_("d");
        state->upsert(slice);
    }
}

std::vector<std::string> files() {
    std::vector<std::string> out;
    for (const auto& entry :
         std::filesystem::directory_iterator(SLUICE_SOURCE_DIR "/agent/compile/testdata")) {
        if (entry.path().extension() == ".txtar") out.push_back(entry.path().string());
    }
    std::sort(out.begin(), out.end());
    return out;
}

class Golden : public testing::TestWithParam<std::string> {};

TEST_P(Golden, TablesAreAsWrittenByHand) {
    auto parts = sections(GetParam());
    std::istringstream words(parts["node"]);
    std::string name;
    std::string zone;
    words >> name >> zone;
    // The node: its name, its zone, and addresses that it has.
    std::vector<IpAddress> addresses;
    for (std::string text; words >> text;) addresses.push_back(*IpAddress::parse(text));
    State state(name);
    state.set_zone(zone);
    state.set_addresses(addresses);
    std::istringstream objects(parts["objects"]);
    std::string document;
    for (std::string line; std::getline(objects, line);) {
        if (line == "---") {
            load(&state, document);
            document.clear();
        } else {
            document += line + "\n";
        }
    }
    load(&state, document);
    const Progress progress = state.take();
    EXPECT_EQ(text_of(state.all()), parts["tables"]) << parts[""];
    std::string notes;
    for (const auto& note : progress.notes) notes += note + "\n";
    EXPECT_EQ(notes, parts["notes"]);
    EXPECT_EQ(text_of(progress.change.upserts), parts["tables"]);
}

INSTANTIATE_TEST_SUITE_P(Semantics, Golden, testing::ValuesIn(files()), [](const auto& parameter) {
    std::string name = std::filesystem::path(parameter.param).stem().string();
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
});

}  // namespace
}  // namespace sluice::compile
