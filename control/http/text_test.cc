// The pure parts: targets, content codings, heads, Status bodies.
#include <gtest/gtest.h>
#include <zlib.h>

#include <boost/json/parse.hpp>

#include <string>
#include <utility>
#include <vector>

#include "control/http/gzip.h"
#include "control/http/head.h"
#include "control/http/status_body.h"
#include "control/http/uri.h"

namespace sluice::http {
namespace {

using Query = std::vector<std::pair<std::string, std::string>>;

TEST(PathSegments, WithoutEmptyOnesAndNotTooMany) {
    using Parts = std::vector<std::string_view>;
    EXPECT_EQ(path_segments("", 2), Parts{});
    EXPECT_EQ(path_segments("///", 2), Parts{});
    EXPECT_EQ(path_segments("//a/b/", 2), (Parts{"a", "b"}));
    EXPECT_EQ(path_segments("a", 0), Parts{"a"});
    EXPECT_EQ(path_segments("/a/b/c/d/e", 2), (Parts{"a", "b", "c"}));
}

TEST(Target, DecodesPathAndQuery) {
    const auto target =
        parse_target("/api/v1/pods/a%20b+c?labelSelector=app%3Dweb%2Ctier+in&limit=5&watch&=x&&a=b=c");
    ASSERT_TRUE(target);
    EXPECT_EQ(target->path, "/api/v1/pods/a b+c");
    EXPECT_EQ(target->query, (Query{{"labelSelector", "app=web,tier in"},
                                    {"limit", "5"},
                                    {"watch", ""},
                                    {"", "x"},
                                    {"a", "b=c"}}));
}

TEST(Target, TakesAbsoluteForm) {
    EXPECT_EQ(parse_target("https://host:6443/api?x=1")->path, "/api");
    EXPECT_EQ(parse_target("http://host")->path, "/");
    EXPECT_EQ(parse_target("http://host?x=1")->query, (Query{{"x", "1"}}));
}

TEST(Target, RefusesWhatIsNotOne) {
    for (const std::string_view bad :
         {"", "*", "api", "host:443", "/a%", "/a%2", "/a%zz", "/a%00b", "/a?b=%", "/a?b=%g0", "/a b",
          "/a\tb", "/a#b", "/a?b=\x7f"}) {
        const auto target = parse_target(bad);
        ASSERT_FALSE(target) << bad;
        EXPECT_EQ(target.error().code, Code::kInvalidArgument) << bad;
    }
    EXPECT_FALSE(parse_target("/" + std::string(kMaxTargetBytes, 'a')));
    std::string many = "/?";
    for (std::size_t i = 0; i <= kMaxQueryParameters; ++i) many += "a&";
    EXPECT_FALSE(parse_target(many));
}

TEST(Target, EncodingIsUndoneByDecoding) {
    std::string all;
    for (int c = 1; c < 256; ++c) all.push_back(static_cast<char>(c));
    EXPECT_EQ(parse_target("/" + percent_encode(all))->path, "/" + all);
    EXPECT_EQ(percent_encode("a/b c~"), "a%2Fb%20c~");
}

TEST(Gzip, AcceptEncoding) {
    for (const char* yes : {"gzip", "gzip, deflate", "deflate, GZIP;q=0.5", "*", "br;q=1, *;q=0.1",
                            "gzip;q=0.001", "gzip ; q=1"}) {
        EXPECT_TRUE(accepts_gzip(yes)) << yes;
    }
    for (const char* no : {"", "identity", "gzip;q=0", "gzip;q=0.000, *", "*;q=0", "xgzip"}) {
        EXPECT_FALSE(accepts_gzip(no)) << no;
    }
}

TEST(Gzip, RoundTrip) {
    std::string text;
    for (int i = 0; i < 50'000; ++i) text += std::to_string(i);
    const auto packed = gzip(text);
    ASSERT_TRUE(packed);
    EXPECT_LT(packed->size(), text.size());
    std::string out(text.size() + 1, '\0');
    z_stream stream{};
    ASSERT_EQ(inflateInit2(&stream, 15 + 16), Z_OK);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed->data()));
    stream.avail_in = static_cast<uInt>(packed->size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    EXPECT_EQ(inflate(&stream, Z_FINISH), Z_STREAM_END);
    out.resize(stream.total_out);
    inflateEnd(&stream);
    EXPECT_EQ(out, text);
}

TEST(Head, HasLengthDateAndHeaders) {
    Response response;
    response.status = 404;
    response.headers = {{"Content-Type", "text/plain"}, {"content-LENGTH", "999"}};
    std::string out;
    append_head(&out, response, Framing::kLength, 7, "DATE", true, false);
    EXPECT_EQ(out,
              "HTTP/1.1 404 Not Found\r\nDate: DATE\r\nContent-Type: text/plain\r\n"
              "Content-Length: 7\r\n\r\n");
    out.clear();
    append_head(&out, {}, Framing::kChunked, 0, "D", false, false);
    EXPECT_EQ(out, "HTTP/1.1 200 OK\r\nDate: D\r\nTransfer-Encoding: chunked\r\n"
                   "Connection: close\r\n\r\n");
}

TEST(Head, ValuesCannotForgeHeaders) {
    Response response;
    response.headers = {{"Warning", "299 - \"a\r\nSet-Cookie: b\""}};
    std::string out;
    append_head(&out, response, Framing::kNoBody, 0, "D", true, false);
    EXPECT_EQ(out.find("\r\nSet-Cookie"), std::string::npos);
}

// The example of RFC 9110, 5.6.7.
TEST(Head, Date) { EXPECT_EQ(http_date(784111777), "Sun, 06 Nov 1994 08:49:37 GMT"); }

TEST(StatusBody, IsAStatusForAnyText) {
    const std::string text = std::string("a\"b\\c\n\x01 \xff \xc3\xa4 \xed\xa0\x80 \xf0\x9f\x98\x80");
    const Response response = status_response(401, "Unauthorized", text);
    EXPECT_EQ(response.status, 401);
    const auto value = boost::json::parse(response.body).as_object();
    EXPECT_EQ(value.at("kind"), "Status");
    EXPECT_EQ(value.at("apiVersion"), "v1");
    EXPECT_EQ(value.at("status"), "Failure");
    EXPECT_EQ(value.at("reason"), "Unauthorized");
    EXPECT_EQ(value.at("code"), 401);
    EXPECT_EQ(value.at("message"),
              "a\"b\\c\n\x01 \xef\xbf\xbd \xc3\xa4 \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd "
              "\xf0\x9f\x98\x80");
}

}  // namespace
}  // namespace sluice::http
