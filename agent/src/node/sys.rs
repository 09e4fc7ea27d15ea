//! The system calls that neither `std` nor `nix` offers in a safe form.
#![allow(unsafe_code, reason = "the one file of this part of the agent that talks to the kernel below its libraries")]

use std::{
    io, mem,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    ptr,
};

use nix::libc;

const ETH_P_IP: u16 = 0x0800;

/// Size of a C struct, as system calls take it.
fn size_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(mem::size_of::<T>()).unwrap_or(libc::socklen_t::MAX)
}

fn address(index: u32, mac: [u8; 6]) -> libc::sockaddr_ll {
    let mut hardware = [0; 8];
    hardware[..6].copy_from_slice(&mac);
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: ETH_P_IP.to_be(),
        sll_ifindex: index.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: hardware,
    }
}

/// Opens a packet socket on one interface that receives the IPv4 packets which `filter` (classic BPF, seeing the IP
/// header first) lets pass. Non-blocking, closed on exec.
///
/// # Errors
/// Those of `socket(2)`, `setsockopt(2)` and `bind(2)`.
pub(super) fn packet_socket(index: u32, filter: &[(u16, u8, u8, u32)]) -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut program: Vec<libc::sock_filter> =
        filter.iter().map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: `program` and the filter it points to live until the call returns, and the length is that of the struct.
    let set = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            ptr::from_ref(&program).cast(),
            size_of::<libc::sock_fprog>(),
        )
    };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    let to = address(index, [0; 6]);
    // SAFETY: `to` lives until the call returns, and the length is that of the struct.
    let bound = unsafe { libc::bind(fd.as_raw_fd(), ptr::from_ref(&to).cast(), size_of::<libc::sockaddr_ll>()) };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(fd) }
}

/// Sends an IPv4 packet (with its IP header) to every station of an interface.
///
/// # Errors
/// Those of `sendto(2)`.
pub(super) fn send_broadcast(fd: BorrowedFd<'_>, index: u32, packet: &[u8]) -> io::Result<()> {
    let to = address(index, [0xff; 6]);
    // SAFETY: the buffer and the address live until the call returns; both lengths are those of the objects.
    let sent = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            0,
            ptr::from_ref(&to).cast(),
            size_of::<libc::sockaddr_ll>(),
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The signature that a hypervisor leaves for its guests: `KVMKVMKVM`, `VMwareVMware`, `Microsoft Hv`, `XenVMMXenVMM`,
/// `TCGTCGTCGTCG`. `None` on bare metal, and where processors are not asked that way.
#[cfg(target_arch = "x86_64")]
pub(super) fn hypervisor() -> Option<String> {
    use std::arch::x86_64::__cpuid;
    /// Bit of ECX of leaf 1 that says that there is one.
    const PRESENT: u32 = 1 << 31;
    if __cpuid(1).ecx & PRESENT == 0 {
        return None;
    }
    let leaf = __cpuid(0x4000_0000);
    let bytes: Vec<u8> = [leaf.ebx, leaf.ecx, leaf.edx].into_iter().flat_map(u32::to_le_bytes).collect();
    let text: String = bytes.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect();
    (!text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() || c == ' ')).then_some(text)
}

/// Other processors have no such signature.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn hypervisor() -> Option<String> {
    None
}

/// A random number for transaction ids and jitter. Never waits for the kernel to gather entropy: early in the boot
/// that could take longer than the boot, and nothing here is a secret.
pub(super) fn random() -> u32 {
    const GRND_INSECURE: u32 = 4;
    let mut bytes = [0_u8; 4];
    // SAFETY: the buffer is valid for its length.
    let read = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), GRND_INSECURE) };
    if read == 4 {
        return u32::from_ne_bytes(bytes);
    }
    // A kernel without the flag: the clock's nanoseconds differ enough between machines.
    u32::try_from(super::clock::now().as_nanos() & 0xffff_ffff).unwrap_or(1)
}

/// Uses a device or a file as swap space.
///
/// # Errors
/// Those of `swapon(2)`.
pub(super) fn swap_on(path: &std::path::Path) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `path` is a C string that lives through the call.
    match unsafe { libc::swapon(path.as_ptr(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
