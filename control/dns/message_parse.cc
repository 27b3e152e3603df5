// Reading messages: see message.h.
#include <array>

#include "control/dns/message.h"

namespace sluice::dns {
namespace {

using Bytes = std::span<const std::uint8_t>;

Flags unpack(std::uint16_t bits) {
    Flags flags;
    flags.response = (bits & 0x8000U) != 0;
    flags.opcode = static_cast<std::uint8_t>((bits >> 11U) & 0xfU);
    flags.authoritative = (bits & 0x0400U) != 0;
    flags.truncated = (bits & 0x0200U) != 0;
    flags.recursion_desired = (bits & 0x0100U) != 0;
    flags.recursion_available = (bits & 0x0080U) != 0;
    flags.authentic = (bits & 0x0020U) != 0;
    flags.checking_disabled = (bits & 0x0010U) != 0;
    flags.rcode = static_cast<std::uint8_t>(bits & 0xfU);
    return flags;
}

// A cursor that never leaves the message: a read beyond its end sets failed and gives zeros.
class Reader {
public:
    explicit Reader(Bytes all) : all_(all) {}

    std::uint8_t u8() {
        if (!need(1)) return 0;
        return all_[at_++];
    }
    std::uint16_t u16() {
        if (!need(2)) return 0;
        const auto value = static_cast<std::uint16_t>((all_[at_] << 8U) | all_[at_ + 1]);
        at_ += 2;
        return value;
    }
    std::uint32_t u32() {
        const std::uint32_t high = u16();
        return (high << 16U) | u16();
    }
    // Bytes are appended to out.
    void copy(std::size_t count, std::string* out) {
        if (!need(count)) return;
        out->append(reinterpret_cast<const char*>(all_.data()) + at_, count);
        at_ += count;
    }
    // An uncompressed name is appended to out.
    void name(std::string* out) {
        const std::size_t begin = out->size();
        std::size_t at = at_;
        std::size_t segment =
            at_;  // where the run of labels being read began: pointers go below it
        bool jumped = false;
        while (!failed_) {
            if (at >= all_.size()) return fail();
            const std::uint8_t length = all_[at];
            if ((length & 0xc0U) == 0xc0U) {
                if (at + 1 >= all_.size()) return fail();
                const std::size_t target = ((length & 0x3fU) << 8U) | all_[at + 1];
                // Strictly backwards, so the walk ends.
                if (target >= segment || target < kHeaderBytes) return fail();
                if (!jumped) at_ = at + 2;
                jumped = true;
                at = segment = target;
                continue;
            }
            if (length > kMaxLabelBytes) return fail();
            if (at + 1 + length > all_.size()) return fail();
            out->append(reinterpret_cast<const char*>(all_.data()) + at, length + 1U);
            if (out->size() - begin > kMaxNameBytes) return fail();
            at += length + 1U;
            if (length == 0) {
                if (!jumped) at_ = at;
                return;
            }
        }
    }
    Name name() {
        std::string wire;
        name(&wire);
        return failed_ ? Name() : Name::from_wire(std::move(wire));
    }
    void fail() { failed_ = true; }
    [[nodiscard]] bool failed() const { return failed_; }
    [[nodiscard]] std::size_t at() const { return at_; }
    [[nodiscard]] bool at_end() const { return at_ == all_.size(); }

private:
    bool need(std::size_t count) {
        if (failed_ || all_.size() - at_ < count) failed_ = true;
        return !failed_;
    }

    Bytes all_;
    std::size_t at_ = 0;
    bool failed_ = false;
};

// Where names stand in the data of the types that may compress them (RFC 3597, 4): bytes before,
// names, bytes after.
struct Shape {
    std::uint16_t type;
    std::uint8_t before, names, after;
};
constexpr std::array<Shape, 11> kShapes = {{{type::kNs, 0, 1, 0},
                                            {type::kCname, 0, 1, 0},
                                            {type::kPtr, 0, 1, 0},
                                            {type::kDname, 0, 1, 0},
                                            {type::kSoa, 0, 2, 20},
                                            {type::kMx, 2, 1, 0},
                                            {type::kRp, 0, 2, 0},
                                            {type::kAfsdb, 2, 1, 0},
                                            {type::kRt, 2, 1, 0},
                                            {type::kSrv, 6, 1, 0},
                                            {type::kKx, 2, 1, 0}}};

void read_data(Reader& reader, std::uint16_t record_type, std::uint16_t length, std::string* out) {
    const std::size_t end = reader.at() + length;
    const Shape* shape = nullptr;
    for (const auto& candidate : kShapes) {
        if (candidate.type == record_type) shape = &candidate;
    }
    if (shape == nullptr) {
        if (record_type == type::kA && length != 4) reader.fail();
        if (record_type == type::kAaaa && length != 16) reader.fail();
        reader.copy(length, out);
        return;
    }
    reader.copy(shape->before, out);
    for (unsigned i = 0; i < shape->names; ++i) reader.name(out);
    reader.copy(shape->after, out);
    if (reader.at() != end) reader.fail();
}

void read_records(Reader& reader, unsigned count, std::vector<Record>* out, Message* message,
                  bool may_be_opt) {
    for (unsigned i = 0; i < count && !reader.failed(); ++i) {
        Record record;
        record.name = reader.name();
        record.type = reader.u16();
        record.klass = reader.u16();
        record.ttl = reader.u32();
        const std::uint16_t length = reader.u16();
        if (record.type == type::kOpt) {
            if (!may_be_opt || message->edns || !record.name.is_root()) return reader.fail();
            std::string options;
            reader.copy(length, &options);
            Edns edns;
            edns.udp_bytes = record.klass;
            edns.extended_rcode = static_cast<std::uint8_t>(record.ttl >> 24U);
            edns.version = static_cast<std::uint8_t>(record.ttl >> 16U);
            edns.dnssec_ok = (record.ttl & 0x8000U) != 0;
            // Options are pairs of code and length; a broken list is a broken message.
            for (std::size_t at = 0; at < options.size();) {
                if (options.size() - at < 4) return reader.fail();
                const std::size_t size =
                    (static_cast<std::size_t>(static_cast<std::uint8_t>(options[at + 2])) << 8U) |
                    static_cast<std::uint8_t>(options[at + 3]);
                if (options.size() - at - 4 < size) return reader.fail();
                at += 4 + size;
            }
            message->edns = edns;
            continue;
        }
        // RFC 2181, 8: a TTL with the highest bit set counts as zero.
        if ((record.ttl & 0x80000000U) != 0) record.ttl = 0;
        read_data(reader, record.type, length, &record.rdata);
        if (!reader.failed()) out->push_back(std::move(record));
    }
}

}  // namespace

std::optional<Header> parse_header(Bytes bytes) {
    if (bytes.size() < kHeaderBytes) return std::nullopt;
    Reader reader(bytes);
    Header header;
    header.id = reader.u16();
    header.flags = unpack(reader.u16());
    header.questions = reader.u16();
    header.answers = reader.u16();
    header.authority = reader.u16();
    header.additional = reader.u16();
    return header;
}

std::optional<Message> parse_message(Bytes bytes) {
    const auto header = parse_header(bytes);
    if (!header || bytes.size() > kMaxMessageBytes) return std::nullopt;
    const std::size_t records =
        std::size_t{header->questions} + header->answers + header->authority + header->additional;
    if (records > kMaxRecords) return std::nullopt;
    Message message;
    message.id = header->id;
    message.flags = header->flags;
    Reader reader(bytes);
    for (std::size_t i = 0; i < kHeaderBytes; i += 4) static_cast<void>(reader.u32());
    for (unsigned i = 0; i < header->questions && !reader.failed(); ++i) {
        Question question;
        question.name = reader.name();
        question.type = reader.u16();
        question.klass = reader.u16();
        message.questions.push_back(std::move(question));
    }
    read_records(reader, header->answers, &message.answers, &message, false);
    read_records(reader, header->authority, &message.authority, &message, false);
    read_records(reader, header->additional, &message.additional, &message, true);
    if (reader.failed() || !reader.at_end()) return std::nullopt;
    return message;
}

}  // namespace sluice::dns
