// Encryption at rest over the embedded store. The sealed bytes were made by other programs: OpenSSL by
// way of Node.js (aesgcm, aescbc), libsodium by way of Python (secretbox).
#include <gmock/gmock.h>

#include <thread>

#include "control/store/encryption/encrypted_store.h"
#include "control/store/test_util.h"

namespace sluice::store {
namespace {

using testing::Collector;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using testing::put;
using testing::TemporaryFolder;
using testing::write_file;

const std::string kKey = "/registry/secrets/default/s";
const std::string kSecret = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";  // 32 bytes
const std::string kOther = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";   // 32 bytes

std::string from_hex(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); i += 2) {
        out += static_cast<char>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16));
    }
    return out;
}

// "aesgcm:NAME", "identity", ... in this order.
std::string config_of(const std::vector<std::string>& providers,
                      const std::string& resource = "secrets") {
    std::string text = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n"
                       "resources:\n- resources: [\"" + resource + "\"]\n  providers:\n";
    for (const std::string& provider : providers) {
        const std::size_t colon = provider.find(':');
        if (colon == std::string::npos) {
            text += "  - identity: {}\n";
            continue;
        }
        const std::string name = provider.substr(colon + 1);
        text += "  - " + provider.substr(0, colon) + ":\n      keys:\n      - name: " + name +
                "\n        secret: " + (name == "other" ? kOther : kSecret) + "\n";
    }
    return text;
}

class EncryptionTest : public ::testing::Test {
protected:
    void open(const std::string& config) {
        store_.reset();
        write_file(config_path(), config);
        auto plain = open_sqlite({folder_.file(), false, 1'000});
        ASSERT_TRUE(plain);
        raw_ = plain->get();
        auto store = encrypt_store(std::move(*plain), config_path());
        ASSERT_TRUE(store) << store.error().to_string();
        store_ = std::move(*store);
    }
    [[nodiscard]] std::string config_path() const { return folder_.file("encryption.yaml"); }
    // As it lies in the store below.
    std::string stored(const std::string& key = kKey) { return *(*raw_->get(key))->value; }
    std::string read(const std::string& key = kKey) {
        auto found = store_->get(key);
        return found ? *(*found)->value : found.error().message;
    }
    std::string refusal(const std::string& config) {
        auto parsed = EncryptionConfig::parse(config);
        return parsed ? std::string() : parsed.error().message;
    }

    TemporaryFolder folder_;
    Store* raw_ = nullptr;
    std::unique_ptr<Store> store_;
};

TEST_F(EncryptionTest, ReadsWhatKubernetesWrites) {
    const std::string plain("k8s\0secret value", 16);
    const std::vector<std::pair<std::string, std::string>> samples{
        {"aesgcm", "000102030405060708090a0b46ddc87caa7db1decda851c810a3a46141339de0dacd3bf086d6e62367"
                   "253d75"},
        {"aescbc", "000102030405060708090a0b0c0d0e0f479a85fd541636935d571eeedfd92ec01328a50d946593daa9"
                   "76da0a81c6b184"},
        {"secretbox", "000102030405060708090a0b0c0d0e0f101112131415161777ae036e455e3e492aea8c23f410a2"
                      "2ca7351d04031432d24272b457fe1f8c52"}};
    for (const auto& [provider, hex] : samples) {
        open(config_of({provider + ":key1"}));
        const std::string prefix = "k8s:enc:" + provider + ":v1:key1:";
        ASSERT_TRUE(put(*raw_, kKey, prefix + from_hex(hex)));
        EXPECT_EQ(read(), plain) << provider;
        auto written = put(*store_, kKey, plain);
        ASSERT_TRUE(written);
        EXPECT_EQ(*written->current.value, plain);
        EXPECT_EQ(*written->previous, plain);
        EXPECT_THAT(stored(), StartsWith(prefix));
        EXPECT_THAT(stored(), Not(HasSubstr("secret value")));
        EXPECT_EQ(read(), plain);
    }
}

TEST_F(EncryptionTest, OnlyTheNamedResourcesAndAllWaysOfReading) {
    open(config_of({"aesgcm:key1", "identity"}));
    ASSERT_TRUE(put(*store_, "/registry/configmaps/default/c", "open"));
    EXPECT_EQ(stored("/registry/configmaps/default/c"), "open");
    Collector collector;
    auto watch = store_->watch("/registry/secrets/", store_->revision(), collector.sink());
    ASSERT_TRUE(put(*store_, kKey, "one"));
    ASSERT_TRUE(put(*store_, kKey, "two"));
    ASSERT_TRUE(testing::remove(*store_, kKey));
    ASSERT_TRUE(put(*store_, kKey, "three"));
    auto conflict = put(*store_, kKey, "x", 1);
    ASSERT_TRUE(conflict && conflict->condition_failed);
    EXPECT_EQ(*conflict->current.value, "three");
    auto list = store_->range("/registry/", "", 0);
    ASSERT_TRUE(list);
    EXPECT_EQ(*list->items[1].value, "three");
    ASSERT_TRUE(collector.wait_for(store_->revision()));
    auto seen = collector.seen();
    ASSERT_EQ(seen.events.size(), 4u);
    EXPECT_EQ(*seen.events[1].current.value, "two");
    EXPECT_EQ(*seen.events[1].previous, "one");
    EXPECT_EQ(*seen.events[2].previous, "two");
}

TEST_F(EncryptionTest, KeysAreRotatedByTheirOrder) {
    open(config_of({"identity"}));
    ASSERT_TRUE(put(*store_, kKey, "text"));
    EXPECT_EQ(stored(), "text");
    open(config_of({"aescbc:key1", "identity"}));
    EXPECT_EQ(read(), "text");
    EXPECT_TRUE((*store_->get(kKey))->stale);
    ASSERT_TRUE(put(*store_, kKey, "text"));
    EXPECT_FALSE((*store_->get(kKey))->stale);
    open(config_of({"aesgcm:other", "aescbc:key1"}));
    EXPECT_EQ(read(), "text");
    EXPECT_TRUE((*store_->get(kKey))->stale);
    ASSERT_TRUE(put(*store_, kKey, "text"));
    EXPECT_THAT(stored(), StartsWith("k8s:enc:aesgcm:v1:other:"));
    open(config_of({"identity", "aesgcm:other"}));
    EXPECT_EQ(read(), "text");
}

TEST_F(EncryptionTest, WhatCannotBeReadNamesTheKeyAndNoSecret) {
    open(config_of({"aesgcm:key1"}));
    ASSERT_TRUE(put(*store_, kKey, "text"));
    std::string damaged = stored();
    damaged.back() = static_cast<char>(damaged.back() ^ 1);
    ASSERT_TRUE(put(*raw_, kKey, damaged));
    EXPECT_THAT(read(), HasSubstr("unable to transform key \"" + kKey + "\""));
    EXPECT_THAT(read(), HasSubstr("aesgcm:v1:key1"));
    EXPECT_FALSE(store_->range("/registry/secrets/", "", 0));
    // Another object's bytes, put in its place, are not accepted: the key is authenticated.
    ASSERT_TRUE(put(*store_, "/registry/secrets/default/t", "text"));
    ASSERT_TRUE(put(*raw_, kKey, stored("/registry/secrets/default/t")));
    EXPECT_THAT(read(), HasSubstr("unable to transform key"));
    ASSERT_TRUE(put(*raw_, kKey, "plain text"));
    EXPECT_THAT(read(), HasSubstr("no matching prefix found"));
    Collector collector;
    auto watch = store_->watch("/registry/secrets/", store_->revision() - 1, collector.sink());
    ASSERT_TRUE(collector.wait_for_error());
}

TEST_F(EncryptionTest, ChangedFileIsTakenOverAndAWrongOneIsNot) {
    open(config_of({"identity"}));
    const auto writes_with = [this](const std::string& prefix) {
        for (int i = 0; i < 3'000; ++i) {
            EXPECT_TRUE(put(*store_, kKey, "text"));
            if (stored().starts_with(prefix)) {
                return true;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        return false;
    };
    write_file(config_path(), config_of({"secretbox:key1", "identity"}));
    EXPECT_TRUE(writes_with("k8s:enc:secretbox:v1:key1:"));
    write_file(config_path(), "kind: Nonsense");
    std::this_thread::sleep_for(std::chrono::milliseconds(2 * kConfigReloadIntervalMs));
    EXPECT_TRUE(writes_with("k8s:enc:secretbox:v1:key1:"));
    EXPECT_EQ(read(), "text");
}

TEST_F(EncryptionTest, ResourcesAreFoundByTheirKeys) {
    const auto covered = [this](const std::string& pattern, const std::string& key) {
        auto config = EncryptionConfig::parse(config_of({"aesgcm:key1"}, pattern));
        EXPECT_TRUE(config);
        return (*config)->rule_for(key) != nullptr;
    };
    EXPECT_TRUE(covered("services", "/registry/services/specs/default/a"));
    EXPECT_FALSE(covered("services", "/registry/services/endpoints/default/a"));
    EXPECT_TRUE(covered("endpoints", "/registry/services/endpoints/default/a"));
    EXPECT_TRUE(covered("nodes", "/registry/minions/a"));
    EXPECT_TRUE(covered("deployments.apps", "/registry/deployments/default/a"));
    EXPECT_FALSE(covered("deployments", "/registry/deployments/default/a"));
    EXPECT_TRUE(covered("*.apps", "/registry/deployments/default/a"));
    EXPECT_TRUE(covered("*.", "/registry/configmaps/default/a"));
    EXPECT_FALSE(covered("*.", "/registry/deployments/default/a"));
    EXPECT_TRUE(covered("*.*", "/registry/example.org/things/default/a"));
    EXPECT_TRUE(covered("things.example.org", "/registry/example.org/things/default/a"));
    EXPECT_FALSE(covered("secrets", "/registry/secretsandmore/a"));
}

TEST_F(EncryptionTest, WrongConfigurationsNameTheFieldAndNoSecret) {
    EXPECT_THAT(refusal(""), HasSubstr("EncryptionConfiguration"));
    EXPECT_THAT(refusal("kind: X\napiVersion: v1"), HasSubstr("kind"));
    const std::string head = "apiVersion: apiserver.config.k8s.io/v1\n"
                             "kind: EncryptionConfiguration\n";
    EXPECT_THAT(refusal(head), HasSubstr("resources: Required value"));
    const std::string rule = head + "resources:\n- resources: [secrets]\n";
    EXPECT_THAT(refusal(rule), HasSubstr("resources[0].providers"));
    EXPECT_THAT(refusal(rule + "  providers:\n  - kms: {}\n"),
                HasSubstr("resources[0].providers[0]: Unsupported value: \"kms\""));
    const std::string short_key = refusal(
        rule + "  providers:\n  - aesgcm:\n      keys:\n      - {name: a, secret: c2hvcnQ=}\n");
    EXPECT_THAT(short_key, HasSubstr("resources[0].providers[0].aesgcm.keys[0].secret"));
    EXPECT_THAT(short_key, HasSubstr("got 5"));
    EXPECT_THAT(short_key, Not(HasSubstr("c2hvcnQ")));
    const std::string no_base64 = refusal(
        rule + "  providers:\n  - aesgcm:\n      keys:\n      - {name: a, secret: hidden!}\n");
    EXPECT_THAT(no_base64, HasSubstr("base64"));
    EXPECT_THAT(no_base64, Not(HasSubstr("hidden")));
    EXPECT_THAT(refusal(rule + "  providers:\n  - {aesgcm: {}, identity: {}}\n"),
                HasSubstr("more than one provider"));
}

}  // namespace
}  // namespace sluice::store
