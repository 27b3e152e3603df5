// Requests recorded against kube-apiserver 1.32, played back: the answers must be the same but for uids, times and
// versions. testdata/recorded.jsonl holds one exchange a line; "setup" requests come before it and must succeed.
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fstream>
#include <regex>

#include "control/apiserver/registry/test_util.h"

namespace sluice::registry::testing {
namespace {

std::string text(const boost::json::object& row, const char* name) {
    const auto* value = row.if_contains(name);
    return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

// The recorder took managedFields out of all answers.
std::string without_managers(std::string json) {
    static const std::string kName = "\"managedFields\":[";
    for (std::size_t at = json.find(kName); at != std::string::npos; at = json.find(kName, at)) {
        std::size_t end = at + kName.size();
        bool in_string = false;
        for (int depth = 1; depth > 0 && end < json.size(); ++end) {
            const char c = json[end];
            if (in_string) {
                if (c == '\\') ++end;
                if (c == '"') in_string = false;
            } else {
                in_string = c == '"';
                depth += c == '[' ? 1 : (c == ']' ? -1 : 0);
            }
        }
        if (at > 0 && json[at - 1] == ',') {
            --at;
        } else if (end < json.size() && json[end] == ',') {
            ++end;
        }
        json.erase(at, end - at);
    }
    return json;
}

// What differs from run to run, replaced by a word.
std::string normal(std::string json) {
    json = without_managers(std::move(json));
    static const std::regex kUid("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}");
    static const std::regex kTime(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)");
    static const std::regex kVersion(R"("resourceVersion":"\d+")");
    static const std::regex kCurrent(R"(current: \d+)");
    static const std::regex kAge(R"("\d+s"\])");
    json = std::regex_replace(json, kUid, "<uid>");
    json = std::regex_replace(json, kTime, "<time>");
    json = std::regex_replace(json, kVersion, R"("resourceVersion":"0")");
    json = std::regex_replace(json, kCurrent, "current: 0");
    return std::regex_replace(json, kAge, "\"0s\"]");
}

// The recording cuts long answers and ends them with an ellipsis.
void expect_same(const std::string& recorded, const std::string& got) {
    static const std::string kCut = "\u2026";
    const std::size_t cut = recorded.find(kCut);
    if (cut != std::string::npos) {
        const std::string head = recorded.substr(0, cut);
        EXPECT_EQ(normal(got).substr(0, normal(head).size()), normal(head));
        return;
    }
    const auto wanted = boost::json::parse(normal(recorded));
    boost::system::error_code error;
    const auto actual = boost::json::parse(normal(got), error);
    ASSERT_FALSE(error) << got;
    EXPECT_EQ(wanted, actual) << "recorded " << boost::json::serialize(wanted) << "\ngot      "
                              << boost::json::serialize(actual);
}

TEST(Replay, AnswersAsRecorded) {
    Cluster cluster;
    ASSERT_EQ(cluster.call("POST", "/api/v1/namespaces", R"({"metadata":{"name":"ho"}})").status,
              201);
    std::ifstream file(std::string(REGISTRY_TESTDATA) + "/recorded.jsonl");
    ASSERT_TRUE(file.is_open());
    std::string line;
    int rows = 0;
    while (std::getline(file, line)) {
        const auto parsed = boost::json::parse(line);
        const auto& row = parsed.as_object();
        SCOPED_TRACE(text(row, "title"));
        ++rows;
        if (const auto* setup = row.if_contains("setup")) {
            for (const auto& step : setup->as_array()) {
                const auto& request = step.as_object();
                const Reply done = cluster.call(text(request, "m"), text(request, "p"),
                                                text(request, "body"));
                EXPECT_LT(done.status, 300) << done.body;
            }
        }
        std::string body = text(row, "body");
        constexpr std::string_view kLarge = "<1.1 MB>";
        if (const std::size_t at = body.find(kLarge); at != std::string::npos) {
            body.replace(at, kLarge.size(), std::string(1'100'000, 'x'));
        }
        Headers headers;
        if (const auto* given = row.if_contains("h")) {
            for (const auto& header : given->as_object()) {
                headers.emplace_back(std::string(header.key()),
                                     std::string(header.value().as_string()));
            }
        }
        Reply reply = cluster.call(text(row, "m"), text(row, "p"), body, headers);
        EXPECT_EQ(reply.status, row.at("status").as_int64()) << reply.body;
        if (const auto* wanted = row.if_contains("hdr")) {
            for (const auto& header : wanted->as_object()) {
                EXPECT_EQ(reply.header(header.key()), std::string(header.value().as_string()));
            }
        }
        // Of Tables the recording kept the rows, of plain 404s only the reason.
        std::string got = reply.body;
        if (text(row, "title") == "Table row") got = reply.at("/rows");
        // Of some objects it kept one member; what is absent it wrote as null.
        if (const std::string at = text(row, "at"); !at.empty()) {
            got = reply.at(at);
            if (got.empty()) got = "null";
        }
        const std::string recorded = text(row, "resp");
        if (recorded == "NotFound") {
            EXPECT_EQ(reply.at("/reason"), recorded);
        } else {
            expect_same(recorded, got);
        }
    }
    EXPECT_GE(rows, 40);
}

}  // namespace
}  // namespace sluice::registry::testing
