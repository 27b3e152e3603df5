// Writing messages: see message.h.
#include <algorithm>
#include <array>

#include "control/dns/message.h"

namespace sluice::dns {
namespace {

constexpr std::size_t kOptBytes = 11;
// Offsets of names that later ones may point to; more are not remembered, which bounds the search.
constexpr std::size_t kMaxTargets = 64;
constexpr std::size_t kMaxPointer = 0x3fff;

std::uint16_t pack(const Flags& flags, std::uint16_t code) {
    unsigned bits = code & 0xfU;
    bits |= flags.response ? 0x8000U : 0;
    bits |= (flags.opcode & 0xfU) << 11U;
    bits |= flags.authoritative ? 0x0400U : 0;
    bits |= flags.truncated ? 0x0200U : 0;
    bits |= flags.recursion_desired ? 0x0100U : 0;
    bits |= flags.recursion_available ? 0x0080U : 0;
    bits |= flags.authentic ? 0x0020U : 0;
    bits |= flags.checking_disabled ? 0x0010U : 0;
    return static_cast<std::uint16_t>(bits);
}

void append_u16(std::string* out, std::uint16_t value) {
    out->push_back(static_cast<char>(value >> 8U));
    out->push_back(static_cast<char>(value & 0xffU));
}

void append_u32(std::string* out, std::uint32_t value) {
    append_u16(out, static_cast<std::uint16_t>(value >> 16U));
    append_u16(out, static_cast<std::uint16_t>(value));
}

class Writer {
public:
    Writer(std::size_t limit, std::vector<std::uint8_t>* out) : limit_(limit), out_(*out) {
        out_.clear();
    }

    void u8(std::uint8_t value) { out_.push_back(value); }
    void u16(std::uint16_t value) {
        u8(static_cast<std::uint8_t>(value >> 8U));
        u8(static_cast<std::uint8_t>(value));
    }
    void u32(std::uint32_t value) {
        u16(static_cast<std::uint16_t>(value >> 16U));
        u16(static_cast<std::uint16_t>(value));
    }
    void bytes(std::string_view text) { out_.insert(out_.end(), text.begin(), text.end()); }
    void patch_u16(std::size_t at, std::uint16_t value) {
        out_[at] = static_cast<std::uint8_t>(value >> 8U);
        out_[at + 1] = static_cast<std::uint8_t>(value);
    }
    // A name of `wire`, with its tail replaced by a pointer where an equal one has been written.
    void name(std::string_view wire, bool compress) {
        std::size_t at = 0;
        while (wire[at] != '\0') {
            const std::string_view tail = wire.substr(at);
            if (compress) {
                for (std::size_t i = 0; i < targets_; ++i) {
                    if (written_equals(target_[i], tail)) {
                        u16(static_cast<std::uint16_t>(0xc000U | target_[i]));
                        return;
                    }
                }
            }
            if (targets_ < kMaxTargets && out_.size() <= kMaxPointer) {
                target_[targets_++] = static_cast<std::uint16_t>(out_.size());
            }
            const std::size_t size = static_cast<std::uint8_t>(wire[at]) + 1U;
            bytes(wire.substr(at, size));
            at += size;
        }
        u8(0);
    }
    // False, and nothing written, if the record is beyond the limit.
    bool record(const Record& record, std::uint32_t age_s) {
        const std::size_t size_before = out_.size();
        const std::size_t targets_before = targets_;
        name(record.name.wire(), true);
        u16(record.type);
        u16(record.klass);
        u32(record.ttl > age_s ? record.ttl - age_s : 0);
        const std::size_t length_at = out_.size();
        u16(0);
        data(record);
        const std::size_t length = out_.size() - length_at - 2;
        if (out_.size() > limit_ || length > 0xffff) {
            out_.resize(size_before);
            targets_ = targets_before;
            return false;
        }
        patch_u16(length_at, static_cast<std::uint16_t>(length));
        return true;
    }
    void reserve_at_end(std::size_t count) { limit_ -= count; }

private:
    // Only the types of RFC 1035 may be compressed inside (RFC 3597, 4).
    void data(const Record& record) {
        const std::string_view all = record.rdata;
        switch (record.type) {
            case type::kNs:
            case type::kCname:
            case type::kPtr: name(all, true); return;
            case type::kMx:
                bytes(all.substr(0, 2));
                name(all.substr(2), true);
                return;
            case type::kSoa: {
                std::size_t end = 0;
                while (all[end] != '\0') end += static_cast<std::uint8_t>(all[end]) + 1U;
                name(all, true);
                name(all.substr(end + 1), true);
                bytes(all.substr(all.size() - 20));
                return;
            }
            default: bytes(all);
        }
    }
    [[nodiscard]] bool written_equals(std::size_t at, std::string_view wire) const {
        std::size_t i = 0;
        while (true) {
            const std::uint8_t length = out_[at];
            if ((length & 0xc0U) == 0xc0U) {
                at = ((length & 0x3fU) << 8U) | out_[at + 1];
                continue;
            }
            if (length != static_cast<std::uint8_t>(wire[i])) return false;
            if (length == 0) return true;
            for (std::size_t k = 1; k <= length; ++k) {
                if (to_lower(static_cast<char>(out_[at + k])) != to_lower(wire[i + k]))
                    return false;
            }
            at += length + 1U;
            i += length + 1U;
            // The name being written may be the one looked at; its end is not there.
            if (at >= out_.size()) return false;
        }
    }

    std::size_t limit_;
    std::vector<std::uint8_t>& out_;
    std::array<std::uint16_t, kMaxTargets> target_{};
    std::size_t targets_ = 0;
};

// How many were written; all, or those before the first that did not fit.
std::uint16_t write_section(Writer& writer, std::span<const Record> records, std::uint32_t age_s) {
    std::uint16_t count = 0;
    for (const Record& record : records) {
        if (count == kMaxRecords || !writer.record(record, age_s)) break;
        ++count;
    }
    return count;
}

}  // namespace

void encode(const Reply& reply, std::size_t limit, std::vector<std::uint8_t>* out) {
    SLUICE_ASSERT(limit >= kPlainUdpBytes);
    Writer writer(std::min(limit, kMaxMessageBytes), out);
    if (reply.edns) writer.reserve_at_end(kOptBytes);
    Flags flags = reply.flags;
    writer.u16(reply.id);
    writer.u16(0);
    for (int i = 0; i < 4; ++i) writer.u16(0);
    if (reply.question != nullptr) {
        writer.name(reply.question->name.wire(), false);
        writer.u16(reply.question->type);
        writer.u16(reply.question->klass);
        writer.patch_u16(4, 1);
    }
    bool complete = true;
    std::uint16_t answers = write_section(writer, reply.first_answers, 0);
    complete = answers == reply.first_answers.size();
    if (complete) {
        const std::uint16_t more = write_section(writer, reply.answers, reply.age_s);
        answers = static_cast<std::uint16_t>(answers + more);
        complete = more == reply.answers.size();
    }
    writer.patch_u16(6, answers);
    if (complete) {
        const std::uint16_t authority = write_section(writer, reply.authority, reply.age_s);
        writer.patch_u16(8, authority);
        complete = authority == reply.authority.size();
    }
    std::uint16_t additional = 0;
    if (complete) additional = write_section(writer, reply.additional, reply.age_s);
    if (reply.edns) {
        writer.u8(0);
        writer.u16(type::kOpt);
        writer.u16(static_cast<std::uint16_t>(kMaxUdpBytes));
        writer.u8(static_cast<std::uint8_t>(reply.rcode >> 4U));
        writer.u8(0);
        writer.u16(reply.dnssec_ok ? 0x8000 : 0);
        writer.u16(0);
        ++additional;
    }
    writer.patch_u16(10, additional);
    flags.truncated = flags.truncated || !complete;
    writer.patch_u16(2, pack(flags, reply.rcode));
}

Record address_record(const Name& name, const IpAddress& address, std::uint32_t ttl) {
    const auto* bytes = reinterpret_cast<const char*>(address.bytes.data());
    if (address.is_v4()) return {name, type::kA, kClassIn, ttl, std::string(bytes + 12, 4)};
    return {name, type::kAaaa, kClassIn, ttl, std::string(bytes, 16)};
}

Record name_record(const Name& name, std::uint16_t record_type, const Name& target,
                   std::uint32_t ttl) {
    return {name, record_type, kClassIn, ttl, target.wire()};
}

Record srv_record(const Name& name, std::uint16_t priority, std::uint16_t weight,
                  std::uint16_t port, const Name& target, std::uint32_t ttl) {
    Record record{name, type::kSrv, kClassIn, ttl, {}};
    append_u16(&record.rdata, priority);
    append_u16(&record.rdata, weight);
    append_u16(&record.rdata, port);
    record.rdata += target.wire();
    return record;
}

Record txt_record(const Name& name, std::string_view text, std::uint32_t ttl) {
    Record record{name, type::kTxt, kClassIn, ttl, {}};
    text = text.substr(0, 255);
    record.rdata.push_back(static_cast<char>(text.size()));
    record.rdata += text;
    return record;
}

Record soa_record(const Name& name, const Soa& soa, std::uint32_t ttl) {
    Record record{name, type::kSoa, kClassIn, ttl, soa.primary.wire() + soa.mailbox.wire()};
    for (const std::uint32_t value :
         {soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum}) {
        append_u32(&record.rdata, value);
    }
    return record;
}

std::optional<std::uint32_t> soa_minimum(const Record& record) {
    if (record.type != type::kSoa || record.rdata.size() < 22) return std::nullopt;
    std::uint32_t value = 0;
    for (std::size_t i = record.rdata.size() - 4; i < record.rdata.size(); ++i) {
        value = (value << 8U) | static_cast<std::uint8_t>(record.rdata[i]);
    }
    return value;
}

Name target_of(const Record& record) {
    return Name::from_wire(record.rdata);
}

}  // namespace sluice::dns
