#include "control/streaming/spdy.h"

#include <zlib.h>

#include <algorithm>
#include <array>

#include "control/streaming/spdy_dictionary.h"

namespace sluice::streaming {
namespace {

constexpr std::size_t kHeadBytes = 8;
constexpr std::uint32_t kVersion = 3;
constexpr std::uint32_t kStreamMask = 0x7fff'ffff;
constexpr std::uint8_t kFlagFin = 1;
constexpr std::size_t kUnpackBytes = 4U << 10U;

enum FrameType : std::uint16_t {
    kTypeSynStream = 1,
    kTypeSynReply = 2,
    kTypeRstStream = 3,
    kTypeSettings = 4,
    kTypePing = 6,
    kTypeGoAway = 7,
    kTypeHeaders = 8,
    kTypeWindowUpdate = 9,
};

std::uint32_t read32(std::string_view bytes, std::size_t at) {
    std::uint32_t out = 0;
    for (std::size_t i = 0; i < 4; ++i) {
        out = out << 8U | static_cast<unsigned char>(bytes[at + i]);
    }
    return out;
}

void put32(std::string* out, std::uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) {
        out->push_back(static_cast<char>(value >> static_cast<unsigned>(shift) & 0xffU));
    }
}

std::string control(FrameType type, std::uint8_t flags, std::string_view payload) {
    std::string out;
    out.reserve(kHeadBytes + payload.size());
    put32(&out, 0x8000'0000U | kVersion << 16U | type);
    put32(&out, static_cast<std::uint32_t>(flags) << 24U |
                    static_cast<std::uint32_t>(payload.size()));
    out.append(payload);
    return out;
}

Error malformed(std::string_view what) {
    return make_error(Code::kDataLoss, "SPDY: {}", what);
}

}  // namespace

class SpdyReader::Inflater {
public:
    Inflater() { ready_ = ::inflateInit(&stream_) == Z_OK; }
    ~Inflater() { ::inflateEnd(&stream_); }
    Inflater(const Inflater&) = delete;
    Inflater& operator=(const Inflater&) = delete;

    // A block ends in a flush, and what it holds comes out whole. False: damaged, or larger than allowed.
    bool unpack(std::string_view block, std::string* out) {
        if (!ready_) return false;
        stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(block.data()));
        stream_.avail_in = static_cast<uInt>(block.size());
        std::array<char, kUnpackBytes> piece{};
        while (true) {
            stream_.next_out = reinterpret_cast<Bytef*>(piece.data());
            stream_.avail_out = static_cast<uInt>(piece.size());
            const int result = ::inflate(&stream_, Z_SYNC_FLUSH);
            if (result == Z_NEED_DICT) {
                if (::inflateSetDictionary(&stream_, kSpdyDictionary.data(),
                                           static_cast<uInt>(kSpdyDictionary.size())) != Z_OK) {
                    return false;
                }
                continue;
            }
            if (result != Z_OK && result != Z_BUF_ERROR) return false;
            const std::size_t got = piece.size() - stream_.avail_out;
            if (out->size() + got > kMaxSpdyHeaderBytes) return false;
            out->append(piece.data(), got);
            if (stream_.avail_out > 0) return stream_.avail_in == 0;
        }
    }

private:
    z_stream stream_{};
    bool ready_ = false;
};

SpdyReader::SpdyReader() : inflater_(std::make_unique<Inflater>()) {}
SpdyReader::~SpdyReader() = default;

Result<SpdyHeaders> SpdyReader::header_block(std::string_view block) {
    std::string text;
    if (!inflater_->unpack(block, &text)) {
        return malformed("a header block cannot be unpacked or is too large");
    }
    std::string_view rest = text;
    const auto take32 = [&](std::uint32_t* value) {
        if (rest.size() < 4) return false;
        *value = read32(rest, 0);
        rest.remove_prefix(4);
        return true;
    };
    const auto take_text = [&](std::string* value) {
        std::uint32_t size = 0;
        if (!take32(&size) || size > rest.size()) return false;
        *value = rest.substr(0, size);
        rest.remove_prefix(size);
        return true;
    };
    std::uint32_t count = 0;
    if (!take32(&count) || count > kMaxSpdyHeaders) {
        return malformed("a header block has no count or too many headers");
    }
    SpdyHeaders out;
    for (std::uint32_t i = 0; i < count; ++i) {
        auto& [name, value] = out.emplace_back();
        if (!take_text(&name) || !take_text(&value)) {
            return malformed("a header block is shorter than it says");
        }
    }
    return out;
}

Result<void> SpdyReader::control_frame(const std::function<void(const SpdyEvent&)>& callback) {
    const std::string_view head = frame_;
    const std::string_view payload = head.substr(kHeadBytes);
    const auto type = static_cast<std::uint16_t>(read32(head, 0) & 0xffffU);
    const auto flags = static_cast<std::uint8_t>(read32(head, 4) >> 24U);
    SpdyEvent event;
    event.fin = (flags & kFlagFin) != 0;
    const auto needs = [&](std::size_t bytes) { return payload.size() >= bytes; };
    std::size_t block_at = 4;
    switch (type) {
        case kTypeSynStream:
            event.kind = SpdyEvent::Kind::kSynStream;
            block_at = 10;
            break;
        case kTypeSynReply:
            event.kind = SpdyEvent::Kind::kSynReply;
            break;
        case kTypeHeaders:
            event.kind = SpdyEvent::Kind::kHeaders;
            break;
        case kTypeRstStream:
        case kTypeGoAway:
            if (payload.size() != 8) return malformed("a frame has the wrong size");
            event.kind = type == kTypeGoAway ? SpdyEvent::Kind::kGoAway : SpdyEvent::Kind::kReset;
            event.stream = read32(payload, 0) & kStreamMask;
            event.code = read32(payload, 4);
            callback(event);
            return {};
        case kTypePing:
            if (payload.size() != 4) return malformed("a frame has the wrong size");
            event.kind = SpdyEvent::Kind::kPing;
            event.code = read32(payload, 0);
            callback(event);
            return {};
        case kTypeWindowUpdate:
            if (payload.size() != 8 || (read32(payload, 4) & kStreamMask) == 0) {
                return malformed("a window update is malformed");
            }
            return {};
        case kTypeSettings:
            if (!needs(4) || (payload.size() - 4) / 8 != read32(payload, 0) ||
                (payload.size() - 4) % 8 != 0) {
                return malformed("settings are malformed");
            }
            return {};
        default:
            return {};
    }
    if (!needs(block_at)) return malformed("a frame has the wrong size");
    event.stream = read32(payload, 0) & kStreamMask;
    if (event.stream == 0) return malformed("a stream has the number 0");
    SLUICE_TRY_ASSIGN(event.headers, header_block(payload.substr(block_at)));
    callback(event);
    return {};
}

Result<void> SpdyReader::feed(std::string_view bytes,
                              const std::function<void(const SpdyEvent&)>& callback) {
    while (!bytes.empty()) {
        if (data_left_ > 0) {
            const std::size_t size = std::min<std::size_t>(data_left_, bytes.size());
            data_left_ -= static_cast<std::uint32_t>(size);
            SpdyEvent event;
            event.stream = data_stream_;
            event.data = bytes.substr(0, size);
            event.fin = data_fin_ && data_left_ == 0;
            bytes.remove_prefix(size);
            callback(event);
            continue;
        }
        const std::size_t size = std::min(frame_bytes_ - frame_.size(), bytes.size());
        frame_.append(bytes.substr(0, size));
        bytes.remove_prefix(size);
        if (frame_.size() < frame_bytes_) return {};
        const std::uint32_t first = read32(frame_, 0);
        const std::uint32_t second = read32(frame_, 4);
        const std::uint32_t length = second & 0x00ff'ffffU;
        if ((first & 0x8000'0000U) == 0) {
            data_stream_ = first;
            data_left_ = length;
            data_fin_ = (second >> 24U & kFlagFin) != 0;
            frame_.clear();
            if (data_stream_ == 0) return malformed("data for stream 0");
            if (length == 0) {
                SpdyEvent event;
                event.stream = data_stream_;
                event.fin = data_fin_;
                callback(event);
            }
            continue;
        }
        if ((first >> 16U & 0x7fffU) != kVersion) return malformed("another version than 3");
        if (length > kMaxSpdyControlBytes) return malformed("a control frame is too large");
        if (frame_.size() < kHeadBytes + length) {
            frame_bytes_ = kHeadBytes + length;
            continue;
        }
        SLUICE_TRY(control_frame(callback));
        frame_.clear();
        frame_bytes_ = kHeadBytes;
    }
    return {};
}

class SpdyWriter::Deflater {
public:
    Deflater() {
        ready_ = ::deflateInit(&stream_, Z_DEFAULT_COMPRESSION) == Z_OK &&
                 ::deflateSetDictionary(&stream_, kSpdyDictionary.data(),
                                        static_cast<uInt>(kSpdyDictionary.size())) == Z_OK;
        SLUICE_ASSERT(ready_);
    }
    ~Deflater() { ::deflateEnd(&stream_); }
    Deflater(const Deflater&) = delete;
    Deflater& operator=(const Deflater&) = delete;

    std::string pack(std::string_view text) {
        std::string out(::deflateBound(&stream_, text.size()) + 16, '\0');
        stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
        stream_.avail_in = static_cast<uInt>(text.size());
        stream_.next_out = reinterpret_cast<Bytef*>(out.data());
        stream_.avail_out = static_cast<uInt>(out.size());
        const int result = ::deflate(&stream_, Z_SYNC_FLUSH);
        SLUICE_ASSERT(result == Z_OK && stream_.avail_in == 0 && stream_.avail_out > 0);
        out.erase(out.size() - stream_.avail_out);
        return out;
    }

private:
    z_stream stream_{};
    bool ready_ = false;
};

SpdyWriter::SpdyWriter() : deflater_(std::make_unique<Deflater>()) {}
SpdyWriter::~SpdyWriter() = default;

std::string SpdyWriter::pack(const SpdyHeaders& headers) {
    std::string text;
    put32(&text, static_cast<std::uint32_t>(headers.size()));
    for (const auto& [name, value] : headers) {
        put32(&text, static_cast<std::uint32_t>(name.size()));
        text += name;
        put32(&text, static_cast<std::uint32_t>(value.size()));
        text += value;
    }
    return deflater_->pack(text);
}

std::string SpdyWriter::syn_stream(std::uint32_t stream, const SpdyHeaders& headers) {
    std::string payload;
    put32(&payload, stream);
    put32(&payload, 0);            // associated to no stream
    payload.append(2, '\0');       // highest priority, no slot
    payload += pack(headers);
    return control(kTypeSynStream, 0, payload);
}

std::string SpdyWriter::syn_reply(std::uint32_t stream, const SpdyHeaders& headers) {
    std::string payload;
    put32(&payload, stream);
    payload += pack(headers);
    return control(kTypeSynReply, 0, payload);
}

std::string SpdyWriter::data(std::uint32_t stream, std::string_view bytes, bool fin) {
    std::string out;
    out.reserve(bytes.size() + (bytes.size() / kSpdyDataBytes + 1) * kHeadBytes);
    do {
        const std::size_t size = std::min(bytes.size(), kSpdyDataBytes);
        const bool last = size == bytes.size();
        put32(&out, stream & kStreamMask);
        put32(&out, (last && fin ? 0x0100'0000U : 0U) | static_cast<std::uint32_t>(size));
        out.append(bytes.substr(0, size));
        bytes.remove_prefix(size);
    } while (!bytes.empty());
    return out;
}

std::string SpdyWriter::reset(std::uint32_t stream, std::uint32_t code) {
    std::string payload;
    put32(&payload, stream);
    put32(&payload, code);
    return control(kTypeRstStream, 0, payload);
}

std::string SpdyWriter::ping(std::uint32_t number) {
    std::string payload;
    put32(&payload, number);
    return control(kTypePing, 0, payload);
}

std::string SpdyWriter::go_away(std::uint32_t last_stream) {
    std::string payload;
    put32(&payload, last_stream);
    put32(&payload, 0);
    return control(kTypeGoAway, 0, payload);
}

}  // namespace sluice::streaming
