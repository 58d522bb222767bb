//! The users that backend connections log in as beside the proxy's own, by number: what a lane carries is small and
//! tells nothing. A number is never another login's in the life of the process, so that a connection of before a
//! change of settings is never taken for one of after it.

use std::sync::{Mutex, PoisonError};

use super::lane::LoginId;
use crate::config::tenants::BackendLogin;

/// All logins of the process, those of earlier settings too.
#[derive(Default, Debug)]
pub struct Logins {
    // Asked when settings are read and when a connection is opened, never on the path of a command.
    known: Mutex<Vec<Known>>,
}

#[derive(Debug)]
struct Known {
    login: BackendLogin,
    /// Whether a server refused it when it was last tried.
    refused: bool,
}

/// What is given when 65,534 logins were: it stands for none, and whoever has it is refused.
const NONE_LEFT: LoginId = LoginId(u16::MAX);

impl Logins {
    /// The number of this login.
    #[must_use]
    pub fn number(&self, login: &BackendLogin) -> LoginId {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let index = known.iter().position(|other| other.login == *login).unwrap_or(known.len());
        match u16::try_from(index + 1) {
            Ok(number) if number < u16::MAX => {
                if index == known.len() {
                    known.push(Known { login: login.clone(), refused: false });
                }
                LoginId(number)
            }
            _ => NONE_LEFT,
        }
    }

    /// The login of this number; `None` for the proxy's own, which has none, and where there is no such.
    #[must_use]
    pub fn login(&self, id: LoginId) -> Option<BackendLogin> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(usize::from(id.0).checked_sub(1)?).map(|known| known.login.clone())
    }

    /// A server refused it, or let it in; whether that is news.
    pub fn note(&self, id: LoginId, refused: bool) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = usize::from(id.0).checked_sub(1).and_then(|index| known.get_mut(index));
        known.is_some_and(|known| std::mem::replace(&mut known.refused, refused) != refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Secret;

    fn login(user: &str, password: &str) -> BackendLogin {
        BackendLogin { user: user.to_owned(), password: Secret::new(password.to_owned()) }
    }

    #[test]
    fn a_number_is_one_logins_for_good() {
        let logins = Logins::default();
        let (shop, web) = (logins.number(&login("shop", "a")), logins.number(&login("web", "a")));
        let changed = logins.number(&login("shop", "b"));
        assert!(shop != web && shop != changed && ![shop, web, changed].contains(&LoginId::PROXY));
        assert_eq!(logins.number(&login("shop", "a")), shop);
        assert_eq!(logins.login(changed), Some(login("shop", "b")));
        assert_eq!(logins.login(LoginId::PROXY), None);
    }

    #[test]
    fn where_no_number_is_left_nobody_gets_anothers() {
        let logins = Logins::default();
        let other = |number: u32| Known { login: login("other", &number.to_string()), refused: false };
        logins.known.lock().unwrap().extend((0..65_533).map(other));
        let last = logins.number(&login("u", "a"));
        assert_eq!(logins.login(last), Some(login("u", "a")));
        let none = logins.number(&login("u", "b"));
        assert_eq!((none, logins.login(none)), (NONE_LEFT, None));
    }

    #[test]
    fn only_changes_are_news() {
        let logins = Logins::default();
        let shop = logins.number(&login("shop", "a"));
        let news = [false, true, true, false].map(|refused| logins.note(shop, refused));
        assert_eq!(news, [false, true, false, true]);
        assert!(!logins.note(LoginId::PROXY, true));
    }
}
