// SPDY frames against bytes made by hand from the specification, and WebSocket frames against RFC 6455's examples.
#include <gtest/gtest.h>
#include <zlib.h>

#include <string>
#include <vector>

#include "control/streaming/spdy.h"
#include "control/streaming/spdy_dictionary.h"
#include "control/streaming/websocket.h"

namespace sluice::streaming {
namespace {

using namespace std::string_literals;

struct Seen {
    SpdyEvent::Kind kind;
    std::uint32_t stream;
    std::uint32_t code;
    bool fin;
    SpdyHeaders headers;
    std::string data;
};

// Fed in pieces of that size; pieces of data are joined.
Result<std::vector<Seen>> read(const std::string& wire, std::size_t piece) {
    SpdyReader reader;
    std::vector<Seen> seen;
    for (std::size_t at = 0; at < wire.size(); at += piece) {
        SLUICE_TRY(reader.feed(std::string_view(wire).substr(at, piece), [&](const SpdyEvent& e) {
            const bool joins = !seen.empty() && e.kind == SpdyEvent::Kind::kData &&
                               seen.back().kind == e.kind && seen.back().stream == e.stream &&
                               !seen.back().fin;
            if (joins) {
                seen.back().data += e.data;
                seen.back().fin = e.fin;
            } else {
                seen.push_back({e.kind, e.stream, e.code, e.fin, e.headers, std::string(e.data)});
            }
        }));
    }
    return seen;
}

// A header block packed by zlib itself, as a peer would.
std::string pack(const std::string& text) {
    z_stream z{};
    deflateInit(&z, 9);
    deflateSetDictionary(&z, kSpdyDictionary.data(), kSpdyDictionaryBytes);
    std::string out(text.size() + 200, '\0');
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    z.avail_in = static_cast<uInt>(text.size());
    z.next_out = reinterpret_cast<Bytef*>(out.data());
    z.avail_out = static_cast<uInt>(out.size());
    deflate(&z, Z_SYNC_FLUSH);
    out.resize(out.size() - z.avail_out);
    deflateEnd(&z);
    return out;
}

TEST(SpdyDictionary, IsTheOneOfTheSpecification) {
    EXPECT_EQ(adler32(adler32(0, nullptr, 0), kSpdyDictionary.data(), kSpdyDictionaryBytes),
              0xe3c6a7c2UL);
}

TEST(Spdy, FramesOfAPeer) {
    const std::string block =
        pack("\0\0\0\2\0\0\0\nstreamtype\0\0\0\6stdout\0\0\0\4port\0\0\0\00280"s);
    const std::string wire =
        "\x80\3\0\2\0\0\0"s + static_cast<char>(4 + block.size()) + "\0\0\0\5"s + block +  // SYN_REPLY
        "\0\0\0\5\0\0\0\3abc"s +                                         // data
        "\0\0\0\5\1\0\0\0"s +                                            // its end
        "\x80\3\0\4\0\0\0\x0c\0\0\0\1\0\0\0\7\0\1\0\0"s +                // SETTINGS
        "\x80\3\0\6\0\0\0\4\0\0\0\2"s +                                  // PING 2
        "\x80\3\0\x09\0\0\0\10\0\0\0\5\0\0\1\0"s +                       // WINDOW_UPDATE
        "\x80\3\0\x63\0\0\0\1x"s +                                       // unknown
        "\x80\3\0\3\0\0\0\10\0\0\0\7\0\0\0\5"s +                         // RST_STREAM
        "\x80\3\0\7\0\0\0\10\0\0\0\0\0\0\0\0"s;                          // GOAWAY
    for (std::size_t piece = 1; piece <= wire.size(); ++piece) {
        const auto seen = read(wire, piece);
        ASSERT_TRUE(seen) << seen.error().message;
        ASSERT_EQ(seen->size(), 5U);
        EXPECT_EQ((*seen)[0].kind, SpdyEvent::Kind::kSynReply);
        EXPECT_EQ((*seen)[0].stream, 5U);
        EXPECT_EQ((*seen)[0].headers, (SpdyHeaders{{"streamtype", "stdout"}, {"port", "80"}}));
        EXPECT_EQ((*seen)[1].data, "abc");
        EXPECT_TRUE((*seen)[1].fin);
        EXPECT_EQ((*seen)[2].code, 2U);
        EXPECT_EQ((*seen)[3].kind, SpdyEvent::Kind::kReset);
        EXPECT_EQ((*seen)[3].stream, 7U);
        EXPECT_EQ((*seen)[3].code, 5U);
        EXPECT_EQ((*seen)[4].kind, SpdyEvent::Kind::kGoAway);
    }
}

TEST(Spdy, BytesThatAreSent) {
    EXPECT_EQ(SpdyWriter::data(3, "hi", true), "\0\0\0\3\1\0\0\2hi"s);
    EXPECT_EQ(SpdyWriter::ping(2), "\x80\3\0\6\0\0\0\4\0\0\0\2"s);
    EXPECT_EQ(SpdyWriter::reset(9, 3), "\x80\3\0\3\0\0\0\10\0\0\0\x09\0\0\0\3"s);
    const std::string large = SpdyWriter::data(1, std::string(kSpdyDataBytes + 1, 'x'), true);
    EXPECT_EQ(large.substr(0, 8), "\0\0\0\1\0\0\x80\0"s);
    EXPECT_EQ(large.substr(8 + kSpdyDataBytes), "\0\0\0\1\1\0\0\1x"s);
    // Both ends keep the state of compression from one block to the next.
    SpdyWriter writer;
    std::string wire = writer.syn_stream(1, {{"streamtype", "error"}});
    wire += writer.syn_stream(3, {{"streamtype", "stdin"}});
    EXPECT_EQ(wire.substr(0, 4), "\x80\3\0\1"s);
    const auto seen = read(wire, 7);
    ASSERT_TRUE(seen);
    ASSERT_EQ(seen->size(), 2U);
    EXPECT_EQ((*seen)[1].headers, (SpdyHeaders{{"streamtype", "stdin"}}));
}

TEST(Spdy, HostileFramesAreRefused) {
    const std::string bomb = pack("\0\0\0\1\0\0\0\1a\0\2\0\0"s + std::string(131'072, 'b'));
    const std::vector<std::string> wires = {
        "\x80\2\0\6\0\0\0\4\0\0\0\2"s,            // SPDY/2
        "\x80\3\0\6\0\0\0\5\0\0\0\2x"s,           // a ping of five bytes
        "\x80\3\0\6\x00\xff\xff\xff"s,            // a control frame of 16 MiB
        "\0\0\0\0\0\0\0\1x"s,                     // data for stream 0
        "\x80\3\0\2\0\0\0\6\0\0\0\5xx"s,          // not zlib
        "\x80\3\0\2\0\0\0\3\0\0\0"s,              // no stream number
        "\x80\3\0\4\0\0\0\4\0\0\0\1"s,            // settings that are missing
        "\x80\3\0\2\0\0"s + static_cast<char>((4 + bomb.size()) >> 8U) +
            static_cast<char>((4 + bomb.size()) & 0xffU) + "\0\0\0\5"s + bomb,
    };
    for (std::size_t i = 0; i < wires.size(); ++i) EXPECT_FALSE(read(wires[i], 1'000)) << i;
}

TEST(WebSocket, HandshakeOfTheSpecification) {
    EXPECT_EQ(websocket_accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    EXPECT_TRUE(is_websocket_key("dGhlIHNhbXBsZSBub25jZQ=="));
    EXPECT_FALSE(is_websocket_key("short=="));
}

std::vector<std::string> messages(const std::string& wire, std::size_t piece, Result<void>* last) {
    WebSocketReader reader;
    std::vector<std::string> out;
    for (std::size_t at = 0; at < wire.size() && *last; at += piece) {
        *last = reader.feed(std::string_view(wire).substr(at, piece), [&](const WebSocketEvent& e) {
            const char* kind = e.kind == WebSocketEvent::Kind::kPing    ? "ping "
                               : e.kind == WebSocketEvent::Kind::kClose ? "close "
                                                                        : "";
            out.push_back(kind + std::string(e.data));
        });
    }
    return out;
}

TEST(WebSocket, FramesOfTheSpecification) {
    // RFC 6455, 5.7: a masked "Hello"; then in two parts with a ping between.
    const std::string hello = "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"s;
    const std::string parts = "\x02\x82\0\0\0\0He"s + "\x89\x80\1\2\3\4"s + "\x80\x83\0\0\0\0llo"s;
    const std::string close = "\x88\x82\0\0\0\0\3\xe8"s + "after";
    for (std::size_t piece = 1; piece < 20; ++piece) {
        Result<void> last;
        EXPECT_EQ(messages(hello + parts + close, piece, &last),
                  (std::vector<std::string>{"Hello", "ping ", "Hello", "close \3\xe8"}));
        EXPECT_TRUE(last);
    }
    for (const std::string& bad :
         {"\x81\5Hello"s,                          // not masked
          "\xc1\x80\0\0\0\0"s,                     // an extension
          "\x80\x80\0\0\0\0"s,                     // a part of nothing
          "\x83\x80\0\0\0\0"s,                     // unknown
          "\x09\x80\0\0\0\0"s,                     // a ping in parts
          "\x82\xff\0\0\0\0\x7f\xff\xff\xff\0\0\0\0"s}) {  // 2 GiB
        Result<void> last;
        messages(bad, 100, &last);
        EXPECT_FALSE(last);
    }
}

TEST(WebSocket, FramesThatAreSent) {
    EXPECT_EQ(websocket_binary("\1", "ab"), "\x82\3\1ab"s);
    EXPECT_EQ(websocket_binary("", std::string(200, 'x')).substr(0, 4), "\x82\x7e\0\xc8"s);
    EXPECT_EQ(websocket_binary("", std::string(70'000, 'x')).substr(0, 10),
              "\x82\x7f\0\0\0\0\0\1\x11\x70"s);
    EXPECT_EQ(websocket_close(CloseCode::kNormal), "\x88\2\3\xe8"s);
}

}  // namespace
}  // namespace sluice::streaming
