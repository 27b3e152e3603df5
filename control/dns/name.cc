// See name.h.
#include "control/dns/name.h"

#include <algorithm>

namespace sluice::dns {

std::string to_lower(std::string_view text) {
    std::string out(text);
    for (char& c : out) c = to_lower(c);
    return out;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
    return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
               return to_lower(x) == to_lower(y);
           });
}

bool is_plain_label(std::string_view text) {
    return !text.empty() && text.size() <= kMaxLabelBytes &&
           std::all_of(text.begin(), text.end(), [](char c) {
               return (to_lower(c) >= 'a' && to_lower(c) <= 'z') || (c >= '0' && c <= '9') ||
                      c == '-' || c == '_';
           });
}

Result<Name> Name::parse(std::string_view text) {
    const auto refuse = [&](std::string_view why) {
        return make_error(Code::kInvalidArgument, "domain name \"{}\": {}", text.substr(0, 300),
                          why);
    };
    std::string_view rest = text;
    if (rest.ends_with('.')) rest.remove_suffix(1);
    std::string wire;
    if (rest.empty() && text != ".") return refuse("it is empty");
    while (!rest.empty()) {
        const std::size_t dot = rest.find('.');
        const std::string_view label = rest.substr(0, dot);
        if (label.empty() || label.size() > kMaxLabelBytes || dot == rest.size() - 1) {
            return refuse("a label needs 1 to 63 bytes");
        }
        wire.push_back(static_cast<char>(label.size()));
        wire.append(label);
        rest = dot == std::string_view::npos ? std::string_view() : rest.substr(dot + 1);
    }
    wire.push_back('\0');
    if (wire.size() > kMaxNameBytes) return refuse("it is longer than 253 characters");
    return from_wire(std::move(wire));
}

Name Name::from_wire(std::string wire) {
    SLUICE_ASSERT(!wire.empty() && wire.size() <= kMaxNameBytes && wire.back() == '\0');
    Name name;
    name.wire_ = std::move(wire);
    return name;
}

Result<Name> Name::join(std::initializer_list<std::string_view> labels, const Name& suffix) {
    std::string wire;
    for (const std::string_view label : labels) {
        if (label.empty() || label.size() > kMaxLabelBytes) {
            return make_error(Code::kInvalidArgument, "label \"{}\" needs 1 to 63 bytes",
                              label.substr(0, 300));
        }
        wire.push_back(static_cast<char>(label.size()));
        wire.append(label);
    }
    wire += suffix.wire_;
    if (wire.size() > kMaxNameBytes) {
        return make_error(Code::kInvalidArgument, "a name below {} is longer than 253 characters",
                          suffix.to_string());
    }
    return from_wire(std::move(wire));
}

std::vector<std::string_view> Name::labels() const {
    std::vector<std::string_view> out;
    out.reserve(8);
    for (std::size_t at = 0; wire_[at] != '\0';) {
        const auto size = static_cast<std::uint8_t>(wire_[at]);
        out.push_back(std::string_view(wire_).substr(at + 1, size));
        at += size + 1U;
    }
    return out;
}

Name Name::lower() const {
    // A length byte is at most 63, below all letters.
    return from_wire(to_lower(wire_));
}

bool Name::is_within(const Name& suffix) const {
    if (suffix.wire_.size() > wire_.size()) return false;
    const std::size_t start = wire_.size() - suffix.wire_.size();
    for (std::size_t at = 0; at <= start; at += static_cast<std::uint8_t>(wire_[at]) + 1U) {
        if (at == start)
            return equal_ignoring_case(std::string_view(wire_).substr(at), suffix.wire_);
    }
    return false;
}

bool Name::equals(const Name& other) const {
    return equal_ignoring_case(wire_, other.wire_);
}

std::string Name::to_string() const {
    if (is_root()) return ".";
    std::string out;
    for (const std::string_view label : labels()) {
        for (const char c : label) {
            if (c > 0x20 && c < 0x7f && c != '.' && c != '\\') {
                out.push_back(c);
            } else {
                out += fmt::format("\\{:03}", static_cast<std::uint8_t>(c));
            }
        }
        out.push_back('.');
    }
    return out;
}

}  // namespace sluice::dns
