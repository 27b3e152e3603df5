#include "dataplane/pktgen/profile_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <fstream>
#include <limits>
#include <sstream>
#include <utility>

#include "api/codec/yaml.h"
#include "dataplane/pktgen/profile_text_internal.h"

namespace sluice::pktgen {

namespace {

namespace json = boost::json;

using Set = std::function<Result<void>(Profile&, std::string_view)>;
using Get = std::function<std::string(const Profile&)>;

template <class Value>
Set with(Result<Value> (*parse)(std::string_view), Value Profile::* field) {
    return [=](Profile& profile, std::string_view text) -> Result<void> {
        SLUICE_TRY_ASSIGN(profile.*field, parse(text));
        return {};
    };
}

template <class Value>
ProfileField named(std::string_view name, std::string_view value, std::string_view help,
                   Result<Value> (*parse)(std::string_view), std::string_view (*name_of)(Value),
                   Value Profile::* field) {
    return {name, value, help, FieldKind::kText, with(parse, field), [=](const Profile& profile) {
                return std::string(name_of(profile.*field));
            }};
}

template <class Value>
ProfileField shown(std::string_view name, std::string_view value, std::string_view help,
                   Result<Value> (*parse)(std::string_view), std::string (*text)(const Value&),
                   Value Profile::* field) {
    return {name, value, help, FieldKind::kText, with(parse, field), [=](const Profile& profile) {
                return text(profile.*field);
            }};
}

ProfileField text_field(std::string_view name, std::string_view value, std::string_view help,
                        std::string Profile::* field) {
    return {name,
            value,
            help,
            FieldKind::kText,
            [=](Profile& profile, std::string_view text) -> Result<void> {
                profile.*field = std::string(text);
                return {};
            },
            [=](const Profile& profile) { return profile.*field; }};
}

ProfileField mac_field(std::string_view name, std::string_view help, std::string Profile::* field) {
    return {
        name, "MAC", help, FieldKind::kText, with(&parse_mac, field), [=](const Profile& profile) {
            return profile.*field;
        }};
}

template <class Number>
ProfileField whole(std::string_view name, std::string_view help, Number Profile::* field) {
    return {name,
            "N",
            help,
            FieldKind::kNumber,
            [=](Profile& profile, std::string_view text) -> Result<void> {
                SLUICE_TRY_ASSIGN(const std::uint64_t value, parse_count(text));
                if (value > std::numeric_limits<Number>::max()) {
                    return make_error(Code::kInvalidArgument, "{} is more than {}", value,
                                      std::numeric_limits<Number>::max());
                }
                profile.*field = static_cast<Number>(value);
                return {};
            },
            [=](const Profile& profile) { return fmt::format("{}", profile.*field); }};
}

ProfileField quantity(std::string_view name, std::string_view value, std::string_view help,
                      double Profile::* field) {
    return {name,
            value,
            help,
            FieldKind::kNumber,
            with(&parse_quantity, field),
            [=](const Profile& profile) { return fmt::format("{}", profile.*field); }};
}

ProfileField yes_or_no(std::string_view name, std::string_view help, bool Profile::* field) {
    return {name,
            "BOOL",
            help,
            FieldKind::kBool,
            with(&parse_bool, field),
            [=](const Profile& profile) { return std::string(profile.*field ? "true" : "false"); }};
}

std::vector<ProfileField> make_fields() {
    using P = Profile;
    const char* const kAddresses = "ADDR[-ADDR]|PREFIX";
    const char* const kPorts = "PORT[-PORT]";
    return {
        text_field("name", "TEXT", "What reports call the run", &P::name),
        whole("flows", "Combinations of the ranges that are used; 0 for all of them", &P::flows),
        shown("source", kAddresses, "Source addresses", &parse_addresses, &addresses_text,
              &P::source),
        shown("destination", kAddresses, "Destination addresses", &parse_addresses, &addresses_text,
              &P::destination),
        shown("source-port", kPorts, "Source ports", &parse_ports, &ports_text, &P::source_port),
        shown("destination-port", kPorts, "Destination ports", &parse_ports, &ports_text,
              &P::destination_port),
        named("l4", "udp|tcp", "Protocol", &parse_l4, &l4_name, &P::l4),
        named("choice", "round-robin|uniform|zipf", "Which flow a packet is of", &parse_choice,
              &choice_name, &P::choice),
        quantity("zipf-exponent", "X", "Of --choice zipf: the higher, the more goes to few flows",
                 &P::zipf_exponent),
        shown("sizes", "BYTES[:WEIGHT],...|imix", "Sizes of the frames with the link's checksum",
              &parse_sizes, &sizes_text, &P::sizes),
        named("life-cycle", "none|syn|scripted|stateful", "How a TCP connection goes",
              &parse_life_cycle, &life_cycle_name, &P::life_cycle),
        whole("data-packets", "Segments with data of a connection, each way", &P::data_packets),
        whole("vlan", "VLAN tag; 0 for none", &P::vlan),
        whole("ttl", "Time to live, or hop limit", &P::ttl),
        whole("dscp", "Differentiated services code point", &P::dscp),
        mac_field("source-mac", "Instead of the port's own", &P::source_mac),
        mac_field("destination-mac", "Instead of asking for the destination by ARP or ND",
                  &P::destination_mac),
        shown("next-hop", "ADDR", "Whose link address is asked for; else the first destination's",
              &parse_address, &address_text, &P::next_hop),
        shown("answer-for", "ADDR[-ADDR]|PREFIX,...",
              "More addresses that the ports answer ARP and ND for", &parse_address_list,
              &address_list_text, &P::answer_for),
        text_field("pcap", "FILE", "A capture whose frames are sent instead of flows", &P::pcap),
        yes_or_no("pcap-timing", "Send at the capture's own times", &P::pcap_timing),
        quantity("packets-per-second", "RATE", "Rate; 0 for as many as the ports take",
                 &P::packets_per_second),
        quantity("bits-per-second", "RATE", "Rate of layer 1: 20 bytes a frame are added",
                 &P::bits_per_second),
        quantity("connections-per-second", "RATE",
                 "Connections opened, of life cycles that have some", &P::connections_per_second),
        quantity("duration-s", "SECONDS", "How long is sent and counted", &P::duration_s),
        whole("count", "Packets to send; 0 to go by the duration", &P::count),
        quantity("warmup-s", "SECONDS", "Sent before counting begins", &P::warmup_s),
        quantity("drain-s", "SECONDS", "Received after the last was sent", &P::drain_s),
        yes_or_no("probe", "Sequence number and time in each payload", &P::probe),
        whole("seed", "Of what is drawn at random", &P::seed),
    };
}

// A scalar, or a list of them, as a flag would have it.
Result<std::string> text_of(const json::value& value) {
    if (const auto* list = value.if_array()) {
        std::string out;
        for (const json::value& item : *list) {
            if (item.is_array()) {
                return make_error(Code::kInvalidArgument, "a list within a list");
            }
            SLUICE_TRY_ASSIGN(const std::string text, text_of(item));
            out += out.empty() ? "" : ",";
            out += text;
        }
        return out;
    }
    switch (value.kind()) {
        case json::kind::string: return std::string(value.get_string());
        case json::kind::int64: return std::to_string(value.get_int64());
        case json::kind::uint64: return std::to_string(value.get_uint64());
        case json::kind::double_: return fmt::format("{}", value.get_double());
        case json::kind::bool_: return std::string(value.get_bool() ? "true" : "false");
        case json::kind::null: return make_error(Code::kInvalidArgument, "has no value");
        default: return make_error(Code::kInvalidArgument, "is a mapping, not a value");
    }
}

// The line of a key of the outermost mapping, 0 if it is not plain to see (a flow mapping, a merged
// alias).
std::size_t line_of(std::string_view text, std::string_view key) {
    std::size_t number = 1;
    for (std::size_t at = 0; at < text.size(); ++number) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        std::string_view line = text.substr(at, end - at);
        const bool quoted = !line.empty() && (line.front() == '"' || line.front() == '\'');
        line.remove_prefix(quoted ? 1 : 0);
        if (line.starts_with(key)) {
            line.remove_prefix(key.size());
            line.remove_prefix(quoted && !line.empty() ? 1 : 0);
            line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
            if (line.starts_with(':')) {
                return number;
            }
        }
        at = end + 1;
    }
    return 0;
}

const ProfileField* find_field(std::string_view name) {
    for (const ProfileField& field : profile_fields()) {
        if (field.name == name) {
            return &field;
        }
    }
    return nullptr;
}

json::value yaml_value(const ProfileField& field, const std::string& text) {
    if (field.kind == FieldKind::kBool) {
        return text == "true";
    }
    if (field.kind == FieldKind::kNumber) {
        if (text.find_first_not_of("0123456789") == std::string::npos) {
            if (auto value = parse_count(text)) return *value;
        } else if (auto value = parse_quantity(text)) {
            return *value;
        }
    }
    return json::value(text);
}

}  // namespace

std::span<const ProfileField> profile_fields() {
    static const std::vector<ProfileField> fields = make_fields();
    return fields;
}

Result<void> set_profile_field(Profile& profile, std::string_view name, std::string_view text) {
    const ProfileField* field = find_field(name);
    if (field == nullptr) {
        return make_error(Code::kInvalidArgument, "a profile has no field \"{}\"", name);
    }
    if (auto set = field->set(profile, text); !set) {
        return set.error().with_context(name);
    }
    return {};
}

Result<Profile> profile_from_yaml(std::string_view text, std::string_view file_name,
                                  const Profile& base) {
    auto parsed = codec::yaml_to_json(text);
    if (!parsed) {
        return parsed.error().with_context(file_name);
    }
    Profile out = base;
    if (parsed->is_null()) {
        return out;
    }
    if (!parsed->is_object()) {
        return make_error(Code::kInvalidArgument, "{}: a profile is a mapping of fields to values",
                          file_name);
    }
    for (const auto& [key, value] : parsed->get_object()) {
        const std::size_t line = line_of(text, key);
        const std::string where =
            line == 0 ? std::string(file_name) : fmt::format("{}:{}", file_name, line);
        auto scalar = text_of(value);
        if (!scalar) {
            return scalar.error().with_context(std::string_view(key)).with_context(where);
        }
        if (auto set = set_profile_field(out, key, *scalar); !set) {
            return set.error().with_context(where);
        }
    }
    return out;
}

Result<Profile> load_profile(const std::string& path, const Profile& base) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        return errno_error(errno, "the profile {} cannot be read", path);
    }
    std::string text(codec::kMaxYamlBytes + 1, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (file.bad() || (file.gcount() == 0 && !file.eof())) {
        return errno_error(EIO, "the profile {} cannot be read", path);
    }
    text.resize(static_cast<std::size_t>(file.gcount()));
    if (text.size() > codec::kMaxYamlBytes) {
        return make_error(Code::kResourceExhausted, "the profile {} has more than {} bytes", path,
                          codec::kMaxYamlBytes);
    }
    return profile_from_yaml(text, path, base);
}

std::string profile_to_yaml(const Profile& profile) {
    json::object out;
    for (const ProfileField& field : profile_fields()) {
        out.emplace(field.name, yaml_value(field, field.get(profile)));
    }
    return codec::json_to_yaml(out);
}

}  // namespace sluice::pktgen
