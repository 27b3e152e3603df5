// The libraries. Expectations: cel-spec (tests/simple: string, string_ext, timestamps), cel-go 0.22
// (ext/README.md) and Kubernetes' documentation of its CEL libraries (1.32).
#include "control/cel/test_rows.h"

namespace sluice::cel {
namespace {

TEST(CelLibrary, Texts) {
    expect_rows({
        {"'hello'.startsWith('he') && 'hello'.endsWith('lo') && 'hello'.contains('ll')", "true"},
        {"'hubba'.matches('ubb') && !'cows'.matches('^ow') && matches('abc', '[bc]+$')", "true"},
        {"'a'.matches(dyn('['))", "error: error parsing regexp: missing closing ]: `[`"},
        {"'tacocat'.charAt(3) + 'tacocat'.charAt(7)", "'o'"},
        {"'tacocat'.charAt(30)", "error: index out of range: 30"},
        {"['tacocat'.indexOf('ac'), 'tacocat'.indexOf('none'), 'ta\u00a9o'.indexOf('o'), 'tacocat'.indexOf('a', 2)]",
         "[1, -1, 3, 5]"},
        {"['tacocat'.lastIndexOf('ac'), 'tacocat'.lastIndexOf('a'), 'tacocat'.lastIndexOf('a', 4), ''.lastIndexOf('')]",
         "[1, 5, 1, 0]"},
        {"'TacoCat'.lowerAscii() + 'TacoC\u00c6t'.upperAscii()", "'tacocatTACOC\u00c6T'"},
        {"'hello hello'.replace('he', 'we') + 'hello hello'.replace('he', 'we', 1) + 'ab'.replace('', '-')",
         "'wello wellowello hello-a-b-'"},
        {"'a b  c'.split(' ') + 'a\u00e9'.split('') + 'a,b,c'.split(',', 2) + 'a'.split(',', 0)",
         "['a', 'b', '', 'c', 'a', '\u00e9', 'a', 'b,c']"},
        {"['x', 'y'].join() + ['x', 'y'].join('-') + [].join()", "'xyx-y'"},
        {"'tacocat'.substring(4) + 'tacocat'.substring(0, 4) + 'ta\u00a9o'.substring(2, 3)", "'cattaco\u00a9'"},
        {"'tacocat'.substring(40)", "error: index out of range: 40"},
        {"'tacocat'.substring(2, 1)", "error: invalid substring range. start: 2, end: 1"},
        {"'  \\u2003a b\\n\\t'.trim()", "'a b'"},
        {"strings.quote('first\\nsecond \"x\" \\\\')", "'\"first\\nsecond \\\"x\\\" \\\\\"'"},
    });
}

TEST(CelLibrary, Format) {
    expect_rows({
        {"'no arguments'.format([])", "'no arguments'"},
        {"'%s %% %s'.format(['a', 'b'])", "'a % b'"},
        {"'%d %x %X %o %b'.format([30, 30, 30, 30, 5])", "'30 1e 1E 36 101'"},
        {"'%b'.format([true])", "'1'"},
        {"'%s %d %s'.format(['a', 1, [1, 'b']])", "'a 1 [1, \"b\"]'"},
        {"'%x'.format(['Hello'])", "'48656c6c6f'"},
        {"'%.3f'.format([1.2345])", "'1.234'"},
        {"'%f'.format([2.71828])", "'2.718280'"},
        {"'%.2e'.format([2.71828])", "'2.72\u202f\u00d7\u202f10\u2070\u2070'"},
        {"'%f'.format([double('NaN')])", "'NaN'"},
        {"'%s'.format([[1, 2]])", "'[1, 2]'"},
        {"'%s'.format([{'b': 1, 'a': 2}])", "'{\"a\":2, \"b\":1}'"},
        {"'%s'.format([timestamp('2023-02-03T23:31:20Z')])", "'2023-02-03T23:31:20Z'"},
        {"'%s'.format([[duration('1h')]])", "'[duration(\"3600s\")]'"},
        {"'%s'.format([type(1)])", "'int'"},
        {"'%s'.format([null])", "'null'"},
        {"dyn('%a').format([1])", "error: could not parse formatting clause: unrecognized formatting clause \"a\""},
        {"dyn('%d').format(['x'])", "error: error during formatting: decimal clause can only be used on integers, was given string"},
        {"dyn('%s').format([])", "error: index 0 out of range"},
    });
}

TEST(CelLibrary, Times) {
    expect_rows({
        {"timestamp('2009-02-13T23:31:30Z') + duration('240s')", "2009-02-13T23:35:30Z"},
        {"timestamp('2009-02-13T23:31:30Z') - timestamp('2009-02-13T23:31:00Z')", "30s"},
        {"timestamp('2009-02-13T23:31:30Z') - duration('600s')", "2009-02-13T23:21:30Z"},
        {"duration('120s') - duration('1s') + duration('500ms')", "119.5s"},
        {"timestamp('9999-12-31T23:59:59Z') + duration('1s')", "error: timestamp overflow"},
        {"timestamp(253402300800)", "error: timestamp overflow"},
        {"timestamp('9999-12-31T23:59:59Z') - timestamp('0001-01-01T00:00:00Z')", "error: duration overflow"},
        {"[timestamp('2009-02-13T23:31:30.050Z')].map(t, [t.getFullYear(), t.getMonth(), t.getDate(), t.getDayOfMonth(), t.getDayOfWeek(), t.getDayOfYear(), t.getHours(), t.getMinutes(), t.getSeconds(), t.getMilliseconds()])[0]",
         "[2009, 1, 13, 12, 5, 43, 23, 31, 30, 50]"},
        {"[timestamp('2009-02-13T23:31:30Z')].map(t, [t.getDate('Australia/Sydney'), t.getHours('-02:30'), t.getMinutes('+05:30'), t.getHours('02:00')])[0]",
         "[14, 21, 1, 1]"},
        {"timestamp('2024-07-01T12:00:00Z').getHours('America/New_York')", "8"},
        {"timestamp('2024-01-01T12:00:00Z').getHours('America/New_York')", "7"},
        {"timestamp('2090-07-01T12:00:00Z').getHours('America/New_York')", "8"},
        {"timestamp('2090-01-01T12:00:00Z').getHours('Australia/Sydney')", "23"},
        {"timestamp(0).getHours('Mars/Olympus')", "error: unknown time zone Mars/Olympus"},
        {"timestamp(0).getHours('../../etc/passwd')", "error: unknown time zone ../../etc/passwd"},
        {"timestamp('1950-01-01T00:00:00Z').getDayOfWeek()", "0"},
        {"[duration('3730.5s')].map(d, [d.getHours(), d.getMinutes(), d.getSeconds(), d.getMilliseconds()])[0]",
         "[1, 62, 3730, 3730500]"},
    });
}

TEST(CelLibrary, ListsAndSets) {
    expect_rows({
        {"[1, 2, 2].isSorted() && !['b', 'a'].isSorted() && [].isSorted()", "true"},
        {"[1, 2, 3].sum() + [1.5].map(x, int(x)).sum()", "7"},
        {"[].sum() == 0 && [1u, 2u].sum() == 3u && [duration('1s'), duration('2s')].sum() == duration('3s')", "true"},
        {"[3, 1, 2].max() - [3, 1, 2].min()", "2"},
        {"['b', 'a'].max()", "'b'"},
        {"[].max()", "error: max called on empty list"},
        {"['a', 'b', 'b'].indexOf('b') * 10 + ['a', 'b', 'b'].lastIndexOf('b') + [1].indexOf(2)", "11"},
        {"sets.contains([1, 2], [1]) && !sets.contains([1], [1, 2]) && sets.contains([], [])", "true"},
        {"sets.equivalent([1, 1], [1]) && sets.equivalent([1], [1u, 1.0].map(x, int(x)))", "compile: expected type 'uint' but found 'double'"},
        {"sets.equivalent([1, 2], [2, 1, 1]) && !sets.equivalent([1], [1, 2])", "true"},
        {"sets.intersects([1], [1, 2]) && !sets.intersects([], [1])", "true"},
    });
}

TEST(CelLibrary, RegularExpressions) {
    expect_rows({
        {"'abc 123'.find('[0-9]+')", "'123'"},
        {"'abc'.find('[0-9]+')", "''"},
        {"'123 abc 456'.findAll('[0-9]+')", "['123', '456']"},
        {"'123 abc 456'.findAll('[0-9]+', 1)", "['123']"},
        {"'123 abc 456'.findAll('[0-9]+', 0)", "[]"},
        {"'baab'.findAll('a*')", "['', 'aa', '']"},
        {"'abc'.find('[')", "error: Illegal regex: error parsing regexp: missing closing ]: `[`"},
    });
}

TEST(CelLibrary, Urls) {
    expect_rows({
        {"url('https://user:pw@example.com:80/path%20x?k=a&k=b&l=%20').getScheme()", "'https'"},
        {"url('https://user:pw@example.com:80/path').getHost()", "'example.com:80'"},
        {"url('https://[::1]:80/path').getHostname() + url('https://[::1]:80/').getPort()", "'::180'"},
        {"url('https://example.com').getPort() + url('/path').getHost()", "''"},
        {"url('https://example.com/path with spaces/').getEscapedPath()", "'/path%20with%20spaces/'"},
        {"url('https://example.com/a%2Fb').getEscapedPath()", "'/a%2Fb'"},
        {"url('https://example.com/path?k1=a&k2=b&k1=c&k3').getQuery()", "{'k1': ['a', 'c'], 'k2': ['b'], 'k3': ['']}"},
        {"isURL('https://user:pw@example.com:80/path?query=val#frag') && isURL('/absolute-path')", "true"},
        {"isURL('https://a:b:c/') || isURL('../relative-path') || isURL('') || isURL('http://a b/')", "false"},
        {"url('../relative')", "error: URL parse error during conversion from string: parse \"../relative\": invalid URI for request"},
        {"url('https://a.example/') == url('https://a.example/')", "true"},
    });
}

TEST(CelLibrary, AddressesAndRanges) {
    expect_rows({
        {"ip('192.168.0.1').family() + ip('::1').family()", "10"},
        {"isIP('127.0.0.1') && isIP('2001:db8::abcd') && !isIP('127.0.0.256') && !isIP('::ffff:1.2.3.4') && !isIP('fe80::1%en0') && !isIP('010.0.0.1')", "true"},
        {"ip.isCanonical('2001:db8::abcd') && !ip.isCanonical('2001:DB8::ABCD') && !ip.isCanonical('2001:db8:0:0::abcd')", "true"},
        {"ip('::ffff:1.2.3.4')", "error: IPv4-mapped IPv6 address \"::ffff:1.2.3.4\" is not allowed"},
        {"ip('fe80::1%en0')", "error: IP address \"fe80::1%en0\" with zone value is not allowed"},
        {"ip('127.0.0.1').isLoopback() && ip('0.0.0.0').isUnspecified() && ip('224.0.0.1').isLinkLocalMulticast() && ip('169.254.1.1').isLinkLocalUnicast() && ip('192.168.0.1').isGlobalUnicast()", "true"},
        {"ip('255.255.255.255').isGlobalUnicast() || ip('::1').isGlobalUnicast() || ip('224.0.1.1').isLinkLocalMulticast()", "false"},
        {"string(ip('2001:DB8::1')) + ' ' + string(cidr('10.1.2.3/8'))", "'2001:db8::1 10.1.2.3/8'"},
        {"type(ip('::1')) == net.IP && type(cidr('::/0')) == net.CIDR", "true"},
        {"cidr('192.168.0.0/24').containsIP('192.168.0.5') && cidr('192.168.0.0/24').containsIP(ip('192.168.0.5'))", "true"},
        {"cidr('192.168.0.0/24').containsIP('192.168.1.5') || cidr('::/0').containsIP('1.2.3.4')", "false"},
        {"cidr('192.168.0.0/24').containsCIDR('192.168.0.0/25') && !cidr('192.168.0.0/24').containsCIDR(cidr('192.168.0.0/23'))", "true"},
        {"string(cidr('192.168.0.7/24').masked()) + ' ' + string(cidr('192.168.0.7/24').ip())", "'192.168.0.0/24 192.168.0.7'"},
        {"cidr('2001:db8::/32').prefixLength()", "32"},
        {"isCIDR('10.0.0.0/8') && !isCIDR('10.0.0.0/33') && !isCIDR('10.0.0.0/08') && !isCIDR('10.0.0.0') && !isCIDR('::ffff:10.0.0.0/104')", "true"},
        {"cidr('10.0.0.0/8') == cidr('10.0.0.0/8') && cidr('10.0.0.0/8') != cidr('10.0.0.0/9') && ip('::1') == ip('0::1')", "true"},
    });
}

TEST(CelLibrary, Quantities) {
    expect_rows({
        {"isQuantity('1.3G') && isQuantity('200k') && isQuantity('1Mi') && !isQuantity('1.3Gig') && !isQuantity('')", "true"},
        {"quantity('50k').add(quantity('20k')) == quantity('70k') && quantity('50k').sub(20000) == quantity('30k')", "true"},
        {"quantity('1Mi') == quantity('1024Ki') && quantity('1000m') == quantity('1')", "true"},
        {"quantity('50k').isGreaterThan(quantity('20k')) && quantity('1').isLessThan(quantity('1100m'))", "true"},
        {"quantity('200M').compareTo(quantity('0.2G')) + quantity('1').compareTo(quantity('2'))", "-1"},
        {"quantity('50k').isInteger() && !quantity('9999999999999999G').isInteger() && !quantity('0.5').isInteger()", "true"},
        {"quantity('50k').asInteger()", "50000"},
        {"quantity('0.5').asInteger()", "error: cannot convert value to integer"},
        {"quantity('50.703k').asApproximateFloat()", "50703"},
        {"quantity('0.5').asApproximateFloat()", "0.5"},
        {"sign(quantity('-1')) + sign(quantity('0')) + sign(quantity('5m'))", "0"},
    });
}

TEST(CelLibrary, NamedFormats) {
    expect_rows({
        {"format.dns1123Label().validate('my-label-name')", "optional.none()"},
        {"format.dns1123Label().validate('Contains-Upper').hasValue()", "true"},
        {"format.dns1123Subdomain().validate('apiextensions.k8s.io').hasValue()", "false"},
        {"format.dns1123LabelPrefix().validate('my-').hasValue()", "false"},
        {"format.qualifiedName().validate('apiextensions.k8s.io/v1beta1').hasValue()", "false"},
        {"format.labelValue().validate('a b').hasValue()", "true"},
        {"format.uri().validate('http://example.com').hasValue()", "false"},
        {"format.uuid().validate('123e4567-e89b-12d3-a456-426614174000').hasValue()", "false"},
        {"format.uuid().validate('nope')", "optional(['does not match the UUID format'])"},
        {"format.byte().validate('aGVsbG8=').hasValue() || format.date().validate('2021-01-01').hasValue() || format.datetime().validate('2021-01-01T00:00:00Z').hasValue()", "false"},
        {"format.date().validate('2021-13-01')", "optional(['invalid date'])"},
        {"format.named('dns1123Label').value() == format.dns1123Label()", "true"},
        {"format.named('unknown')", "optional.none()"},
    });
}

}  // namespace
}  // namespace sluice::cel
