# Targets: all demo test unit integration fuzz sanitize lint format bench install uninstall clean
#
#   make            build/compose, compose-monitor, compose-crun and compose-image.so in build/
#   make demo       installs the packages, builds, runs examples/postgres-loader
#   make test       installs what the tests need and runs all of them
#   CC=clang make   the other compiler;  SANITIZE=1 make: ASan + UBSan, in build/san

CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
PREFIX ?= /usr/local
VERSION := 0.1.0
SANITIZE ?=

# V=1 shows the commands.
ifeq ($(V),)
say = @printf '  %-4s %s\n' $(1) $@;
else
say =
endif

B := build
ifneq ($(SANITIZE),)
B := build/san
endif
ifeq ($(findstring clang,$(CC)),clang)
B := $(B)/clang
endif

PACKAGES := yaml-0.1 libuv jansson libcares libmnl libnftables libmd zlib
# ISA-L inflates about twice as fast as zlib; it is there for amd64 and arm64.
INFLATE := $(shell pkg-config --exists libisal 2>/dev/null && echo libisal || echo zlib)
MODULE_PACKAGES := libcurl libarchive libcrypto libzstd $(INFLATE)
WARN := -Wall -Wextra -Werror -Wshadow -Wswitch-enum -Wvla -Wformat=2 -Wmissing-prototypes
CPPFLAGS += -D_GNU_SOURCE -Isrc
CFLAGS ?= -O2 -g
ALL_CFLAGS = -std=gnu11 $(WARN) $(CFLAGS) $(HARDEN) $(SAN) -fno-omit-frame-pointer -MMD -MP
ifneq ($(SANITIZE),)
SAN := -fsanitize=address,undefined -fno-sanitize-recover=undefined
HARDEN :=
ifneq ($(findstring clang,$(CC)),)
SAN += -fsanitize=fuzzer-no-link
endif
else
HARDEN := -D_FORTIFY_SOURCE=2 -fstack-protector-strong
endif
LINK_HARDEN := -Wl,-z,relro,-z,now -Wl,--as-needed
PKG_CFLAGS := $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PACKAGES) 2>/dev/null)
MODULE_CFLAGS := $(shell pkg-config --cflags $(MODULE_PACKAGES) 2>/dev/null)
ifeq ($(INFLATE),libisal)
MODULE_CFLAGS += -DHAVE_ISAL
endif
MODULE_LIBS := $(shell pkg-config --libs $(MODULE_PACKAGES) 2>/dev/null)

ROOMS := base file model image volume net dns runtime engine cli
SRC := $(foreach room,$(ROOMS),$(wildcard src/$(room)/*.c))
OBJ := $(SRC:src/%.c=$(B)/obj/%.o)
LIB_OBJ := $(filter-out $(B)/obj/cli/main.o,$(OBJ)) $(B)/obj/schema.o
MODULE_SRC := $(wildcard src/image/module/*.c)
MODULE_OBJ := $(MODULE_SRC:src/%.c=$(B)/obj/%.o)
MONITOR_SRC := $(wildcard src/monitor/*.c)
MONITOR_OBJ := $(MONITOR_SRC:src/%.c=$(B)/obj/%.o)
CRUN_OBJ := $(B)/obj/crun/main.o
TLS_OBJ := $(B)/obj/tls/main.o
UNIT_SRC := $(wildcard tests/unit/test_*.c)
UNIT := $(UNIT_SRC:tests/unit/%.c=$(B)/unit/%)
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ := $(FUZZ_SRC:tests/fuzz/%.c=$(B)/fuzz/%)

all: $(B)/compose $(B)/compose-monitor $(B)/compose-crun $(B)/compose-tls $(B)/compose-image.so

# -rdynamic: the image module resolves base/ and image/ from the program that loads it.
$(B)/compose: $(B)/obj/cli/main.o $(B)/libcompose.a
	$(call say,LD)$(CC) $(SAN) -pie -rdynamic $(LINK_HARDEN) -o $@ $< -Wl,--whole-archive $(B)/libcompose.a \
	    -Wl,--no-whole-archive $(PKG_LIBS) -lpthread -ldl -lm

$(B)/libcompose.a: $(LIB_OBJ)
	@rm -f $@
	$(call say,AR)$(AR) rcs $@ $^

$(B)/obj/base/version.o: CPPFLAGS += -DCOMPOSE_VERSION='"$(VERSION)"'

# The same program under another version, for tests of upgrades:
#   make other INTO=FOLDER VERSION=9.9.9 PROTOCOL=1 STATE=1
other: $(B)/obj/cli/main.o $(B)/libcompose.a
	@mkdir -p $(INTO)
	$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(filter-out -MMD -MP,$(ALL_CFLAGS)) -fPIE -DCOMPOSE_VERSION='"$(VERSION)"' \
	    -DCOMPOSE_PROTOCOL=$(PROTOCOL) -DCOMPOSE_STATE=$(STATE) -c -o $(INTO)/version.o src/base/version.c
	$(CC) $(SAN) -pie -rdynamic $(LINK_HARDEN) -o $(INTO)/compose $< $(INTO)/version.o \
	    $(filter-out $(B)/obj/base/version.o,$(LIB_OBJ)) $(PKG_LIBS) -lpthread -ldl -lm
	cp $(B)/compose-monitor $(B)/compose-crun $(B)/compose-tls $(B)/compose-image.so $(INTO)

# Linked statically and alone: a hundred of them share their pages and need no relocation.
$(B)/compose-monitor: $(MONITOR_OBJ)
	$(call say,LD)$(CC) $(MONITOR_SAN) -static -o $@ $^ -lz

# Static as well: it lies before every start of a container where crun needs it.
$(B)/compose-crun: $(CRUN_OBJ)
	$(call say,LD)$(CC) -static -o $@ $^

# Alone: only who logs through TLS pays for OpenSSL.
$(B)/compose-tls: $(TLS_OBJ)
	$(call say,LD)$(CC) $(SAN) -pie $(LINK_HARDEN) -o $@ $^ $(shell pkg-config --libs libssl libcrypto 2>/dev/null)

# A module: only commands that move images pay for libcurl, libarchive and libcrypto.
$(B)/compose-image.so: $(MODULE_OBJ)
	$(call say,LD)$(CC) $(SAN) -shared $(LINK_HARDEN) -o $@ $^ $(MODULE_LIBS)

$(B)/obj/image/module/%.o: src/image/module/%.c
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(MODULE_CFLAGS) $(ALL_CFLAGS) -fPIC -fvisibility=hidden -c -o $@ $<

$(MONITOR_OBJ) $(CRUN_OBJ): $(B)/obj/%.o: src/%.c
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CPPFLAGS) -std=gnu11 $(WARN) -Os -g $(HARDEN) -MMD -MP -c -o $@ $<

$(B)/obj/%.o: src/%.c
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(ALL_CFLAGS) -fPIE -c -o $@ $<

$(B)/obj/schema.o: schema/schema.S schema/compose.schema.json
	@mkdir -p $(@D)
	$(call say,CC)$(CC) -c -o $@ $<

$(B)/unit/%: tests/unit/%.c $(B)/libcompose.a $(MODULE_OBJ)
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(MODULE_CFLAGS) $(ALL_CFLAGS) -o $@ $< $(MODULE_OBJ) \
	    $(B)/libcompose.a $(PKG_LIBS) $(MODULE_LIBS) -lcmocka -lpthread -ldl -lm

# Wants CC=clang SANITIZE=1; the objects then carry what the fuzzer steers by.
$(B)/fuzz/%: tests/fuzz/%.c $(B)/libcompose.a $(MODULE_OBJ)
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(MODULE_CFLAGS) $(ALL_CFLAGS) -fsanitize=fuzzer -o $@ $< \
	    $(MODULE_OBJ) $(B)/libcompose.a $(PKG_LIBS) $(MODULE_LIBS) -lpthread -ldl -lm

-include $(OBJ:.o=.d) $(MODULE_OBJ:.o=.d) $(MONITOR_OBJ:.o=.d) $(CRUN_OBJ:.o=.d) $(TLS_OBJ:.o=.d) $(UNIT:%=%.d)

# The packages come first, then a make of its own: this one has asked pkg-config already.
demo:
	tools/install-packages build run
	+$(MAKE) all
	tools/demo

deps:
	tools/install-packages build run test

test: deps
	tests/run

integration fuzz sanitize:
	tests/run $@

lint:
	tools/install-packages lint
	tools/lint

bench: all
	tools/install-packages bench
	bench/run

unit: $(UNIT)
	@for t in $^; do echo "== $$t"; $$t || exit 1; done

format:
	clang-format -i $$(git ls-files 'src/*.[ch]' 'tests/*.[ch]')

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/compose
	install -d $(DESTDIR)$(PREFIX)/share/compose
	install -m 755 $(B)/compose $(DESTDIR)$(PREFIX)/bin/compose
	install -m 644 schema/compose.schema.json $(DESTDIR)$(PREFIX)/share/compose/
	install -m 755 $(B)/compose-monitor $(B)/compose-crun $(B)/compose-tls $(B)/compose-image.so $(DESTDIR)$(PREFIX)/libexec/compose/
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's,@BINDIR@,$(PREFIX)/bin,' systemd/compose.service.in >$(DESTDIR)$(PREFIX)/lib/systemd/system/compose.service

uninstall:
	rm -rf $(DESTDIR)$(PREFIX)/libexec/compose $(DESTDIR)$(PREFIX)/share/compose $(DESTDIR)$(PREFIX)/bin/compose $(DESTDIR)$(PREFIX)/lib/systemd/system/compose.service

clean:
	rm -rf build

.PHONY: all demo deps test unit integration fuzz sanitize lint bench format install uninstall clean
